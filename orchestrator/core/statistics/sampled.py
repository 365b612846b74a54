"""Test sets of which a part is measured at most steps: which part, and what it says of the whole.

The part is drawn by task, without replacement. What an item that was left out would have lost at a
step is foretold from the nearest steps before and after it at which all items were measured, and
corrected by what that misses of the items of its task that were measured:

    c_i = (1 - w) l_i(before) + w l_i(after),
    estimate of l_i = c_i + mean over measured j of the same task of (l_j - c_j).

w is one number a step, by least squares over the measured items. Means of measured and estimated
losses together, of a task or of the set, are the difference estimator of survey statistics
(Särndal, Swensson and Wretman 1992, "Model Assisted Survey Sampling", section 6.3): right on
average whatever w is, and the nearer the better c foretells the losses.

The errors of two tasks are independent, so that the spread between tasks holds them already:
intervals over tasks need no further allowance (the ultimate clusters of Hansen, Hurwitz and Madow
1953, "Sample Survey Methods and Theory"). Not for intervals over single items: estimated losses
scatter less than measured ones, so compare measured items alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from orchestrator.core.statistics.analysis import Floats


class Completed(NamedTuple):
    """Losses of all items at all steps.

    Attributes:
        losses: (S, N), measured or estimated; NaN of items that were never measured, and where
            nothing can be estimated.
        margins: (S,) how far the 95% limits of the mean over all items lie from it; 0 where all
            were measured.
    """

    losses: Floats
    margins: Floats


def sample_size(items: int, tasks: int, sample: float) -> int:
    """How many items of a set are measured.

    Args:
        items, tasks: of the set.
        sample: so many items, or below 1 that share of them; at least one a task in any case.
    """
    wanted = round(sample * items) if sample < 1 else int(sample)
    return min(items, max(wanted, tasks))


def draw(tasks: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Draw items at random: one of each task first, then from all tasks in proportion.

    A smaller draw with the same seed is part of a larger one; of fewer items than tasks it holds
    one item each of some tasks.

    Args:
        tasks: (N,) name of each item's task.
        count: of items, at most N.

    Returns:
        (count,) int64 places, rising.
    """
    shuffled = np.random.default_rng(seed).permutation(len(tasks))
    _, task, sizes = np.unique(tasks[shuffled], return_inverse=True, return_counts=True)
    by_task = np.argsort(task, kind="stable")
    place = np.empty(len(tasks), np.int64)  # of an item among those of its task
    place[by_task] = np.arange(len(tasks)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turn = np.where(place == 0, 0.0, (place + 0.5) / sizes[task])
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:count]])


def complete(losses: Floats, tasks: NDArray[Any]) -> Completed:
    """Estimate the losses of items at the steps at which they were left out.

    Args:
        losses: (S, N) at ascending steps; NaN where an item was not measured.
        tasks: (N,) name of each item's task.
    """
    known = ~np.isnan(losses)
    items = known.any(axis=0)
    whole = np.flatnonzero(known[:, items].all(axis=1))
    _, task = np.unique(tasks, return_inverse=True)
    sizes = np.bincount(task[items], minlength=task.max(initial=0) + 1)
    completed, margins = losses.copy(), np.zeros(len(losses))
    for step in np.setdiff1d(np.arange(len(losses)), whole):
        before, after = whole[whole < step], whole[whole > step]
        if not len(before):
            margins[step] = np.nan
            continue
        # Of a trial that was stopped no later step is whole: the one before foretells alone.
        first, now = losses[before[-1]], known[step]
        last = losses[after[0]] if len(after) else first
        fall = first - last
        weight = fall[now] @ (first - losses[step])[now] / (fall[now] @ fall[now] or 1.0)
        foretold = first - weight * fall
        missed, margins[step] = _by_task((losses[step] - foretold)[now], task[now], sizes)
        left_out = items & ~now
        completed[step, left_out] = (foretold + missed[task])[left_out]
    return Completed(completed, margins)


def _by_task(
    missed: Floats, task: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[Floats, float]:
    """The mean of what was missed in each task, and the 95% margin of the set's mean.

    By Student's t. The variance inside of tasks is taken to be one for all of them; where no task
    has two measured items, that of all items stands for it, which is not smaller.

    Args:
        missed, task: (n,), of the measured items; tasks as numbers below T.
        sizes: (T,) items of each task.
    """
    counts = np.bincount(task, minlength=len(sizes))
    sums = np.bincount(task, weights=missed, minlength=len(sizes))
    means = np.divide(sums, counts, out=np.full(len(sizes), np.nan), where=counts > 0)
    drawn = counts > 0
    repeated = len(missed) > drawn.sum()
    rest = missed - (means[task] if repeated else missed.mean())
    # Fitted were these means, and the weight w.
    degrees = max(len(missed) - (drawn.sum() if repeated else 1) - 1, 1)
    parts = sizes[drawn] ** 2 * (1 - counts[drawn] / sizes[drawn]) / counts[drawn]
    error = np.sqrt(rest @ rest / degrees * parts.sum()) / sizes.sum()
    return means, float(t.ppf(0.975, degrees) * error)
