"""What loss curves say: curves, their summaries, and two arms compared over tasks.

A loss is the mean cross-entropy of one test instance's answer tokens, in nats; NaN stands for an
instance whose answer was cut away. Lower is better throughout. The intervals here cover the
choice of test tasks only: they say nothing about another seed unless seeds were averaged first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
Verdict = Literal["ahead", "behind", "no clear difference"]

# With fewer tasks even a unanimous result has p > 0.05 in a two-sided sign test (2 * 0.5**5).
FEWEST_TASKS = 6


class TaskCurves(NamedTuple):
    """Mean loss of each task at each evaluated step.

    Attributes:
        steps: (S,), ascending.
        tasks: T names, ascending.
        losses: (S, T); NaN where a task has no loss at a step.
    """

    steps: Steps
    tasks: list[str]
    losses: Floats


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arm A against arm B over the same tasks.

    Attributes:
        difference: mean over tasks of loss A minus loss B; negative: A is ahead.
        low, high: 95% paired bootstrap interval of it.
        tasks_ahead: tasks in which A's loss is strictly lower.
        tasks: tasks compared.
        verdict: of A: "ahead" or "behind" if the interval excludes 0 and there are at least
            `FEWEST_TASKS` tasks.
    """

    difference: float
    low: float
    high: float
    tasks_ahead: int
    tasks: int
    verdict: Verdict


def set_curve(step: Steps, loss: Floats) -> tuple[Steps, Floats]:
    """Loss of a test set at each step: the mean over its instances, those without a loss left out.

    Args:
        step, loss: (N,), one entry for each instance and step.

    Returns:
        The steps at which there is any loss (S,), ascending, and the means (S,).
    """
    known = ~np.isnan(loss)
    steps, inverse = np.unique(step[known], return_inverse=True)
    return steps, np.bincount(inverse, weights=loss[known]) / np.bincount(inverse)


def task_curves(step: Steps, task: Sequence[str], loss: Floats) -> TaskCurves:
    """The same for each task by itself; `step`, `task` and `loss` hold N entries each."""
    known = ~np.isnan(loss)
    steps, row = np.unique(step, return_inverse=True)
    tasks, column = np.unique(np.asarray(task, dtype=np.str_), return_inverse=True)
    shape = (len(steps), len(tasks))
    cell = np.ravel_multi_index((row, column), shape)[known] if len(step) else row
    size = shape[0] * shape[1]
    sums = np.bincount(cell, weights=loss[known], minlength=size).reshape(shape)
    counts = np.bincount(cell, minlength=size).reshape(shape)
    losses = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    return TaskCurves(steps, tasks.tolist(), losses)


def area_under_curve(steps: Steps, losses: Floats) -> Floats:
    """Area under a loss curve over optimizer steps, divided by the range of steps.

    The trapezoid rule; dividing makes it the average loss during training, comparable between
    trials that were evaluated at different steps.

    Args:
        steps: (S,), strictly ascending.
        losses: (S,) or (S, T), one curve a column.

    Returns:
        () or (T,), in units of loss. A single step is its own average.

    Raises:
        ValueError: no step, or steps that do not ascend.
    """
    if len(steps) == 0 or np.any(np.diff(steps) <= 0):
        raise ValueError(f"steps must be one or more and ascend, got {steps.tolist()}")
    if len(steps) == 1:
        return np.asarray(losses[0])
    return np.asarray(np.trapezoid(losses, x=steps, axis=0) / (steps[-1] - steps[0]))


def steps_to_fraction(steps: Steps, losses: Floats, fraction: float = 0.9) -> int | None:
    """First evaluated step at which a curve has made `fraction` of its total drop.

    The total drop is the loss at the first step (the untouched model) minus the lowest loss of
    the curve. Nothing is interpolated: the answer is a step that was measured, so it is late by
    at most the distance between two evaluations.

    Args:
        steps, losses: (S,), in ascending order of step.
        fraction: of the total drop, in (0, 1].

    Returns:
        The step, or None when the loss never fell below its first value.

    Raises:
        ValueError: `fraction` is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}")
    if len(steps) == 0 or not losses.min() < losses[0]:
        return None
    # Written as a distance from the lowest loss so that a fraction of 1 is met exactly.
    target = losses.min() + (1 - fraction) * (losses[0] - losses.min())
    return int(steps[np.argmax(losses <= target)])


def compare_arms(
    steps: Steps, a: Floats, b: Floats, *, seed: int = 0, resamples: int = 10_000
) -> tuple[list[Comparison], Comparison]:
    """Compare two arms over tasks, at each evaluated step and by area under the curve.

    Each resample draws T tasks with replacement and takes both arms' losses on them; the interval
    is the expanded percentile interval (Hesterberg 2015, "What Teachers Should Know About the
    Bootstrap"). A task without a loss at any step of either arm is left out altogether.

    Args:
        steps: (S,), strictly ascending.
        a, b: (S, T), the arms' task losses at the same steps on the same tasks.
        seed: of the resampling.
        resamples: number of bootstrap draws.

    Returns:
        A comparison for each step, and the one by area.

    Raises:
        ValueError: the shapes differ, or no task has a loss in both arms at every step.
    """
    if a.shape != b.shape or a.shape[:1] != steps.shape:
        raise ValueError(f"arms of shapes {a.shape} and {b.shape} at {steps.shape} steps")
    common = ~np.isnan(a + b).any(axis=0)
    count = int(common.sum())
    if count == 0:
        raise ValueError("no task has a loss in both arms at every step")
    a, b = a[:, common], b[:, common]
    area = area_under_curve(steps, a) - area_under_curve(steps, b)
    differences = np.vstack([a - b, area])

    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    tail = _tail(count)
    low, high = np.quantile(differences @ drawn.T / count, [tail, 1 - tail], axis=1)
    rows = [
        Comparison(
            float(row.mean()), float(lo), float(hi), int((row < 0).sum()), count,
            _verdict(lo, hi, count),
        )
        for row, lo, hi in zip(differences, low, high, strict=True)
    ]  # fmt: skip
    return rows[:-1], rows[-1]


def _tail(tasks: int) -> float:
    """Share of resamples to cut off at each end for a 95% interval of a mean over `tasks` values.

    Cutting the plain 2.5% covers the mean only 90% of the time with ten tasks: resamples vary by
    a factor (T - 1) / T too little and know nothing of Student's t. This undoes both.
    """
    freedom = max(tasks - 1, 1)
    z = NormalDist().inv_cdf(0.975)
    # Quantile of Student's t by the first terms of its Cornish-Fisher expansion.
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return NormalDist().cdf(-t * (tasks / freedom) ** 0.5)


def _verdict(low: float, high: float, tasks: int) -> Verdict:
    if tasks < FEWEST_TASKS or low <= 0 <= high:
        return "no clear difference"
    return "ahead" if high < 0 else "behind"
