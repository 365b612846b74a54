"""Two arms compared over test tasks and seeds: the gap between their losses and its interval.

Both arms are measured on the same tasks, and paired by seed, so that what tasks and seeds have in
common cancels. The 95% interval allows for the choice of both. Each has limits of its own, by a
bootstrap of its mean gaps, widened by Student's t over the normal quantile (Hesterberg 2015, "What
Teachers Should Know About the Bootstrap"); of fewer than six means, which a bootstrap cannot draw
from, by Student's t alone. The two are put together as limits of a sum,

    low = mean - sqrt((mean - low_seeds)^2 + (mean - low_tasks)^2), high likewise:

the method of Howe 1974 ("Approximate Confidence Limits on the Mean of X + Y", JASA 69:789-794). It
holds its 95% with two seeds, where one t for both parts, by degrees of freedom estimated from the
same two seeds (Satterthwaite 1946), covers 87 to 93%. The price is width: t is 12.7 with two seeds,
4.3 with three, 2.8 with five. Two seeds seldom make a small gap clear; take three or more. With one
seed the interval covers the choice of tasks only, and says nothing of another seed. Losses of tasks
that were estimated from a part of their items (`sampled`) need no other interval: what the part
misses sets tasks apart, too.

Of several arms against one, `compare_several` keeps the chance of any false "ahead" or "behind"
below 5% (Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure"): the smallest of m
values of p is held against 0.05 / m, the next against 0.05 / (m - 1), until one fails, and each
interval is of the level that its p was held against, or that the first failed at. Where the one was
picked by the same losses, as the best of k arms is, m is the number of all k (k - 1) / 2 pairs, any
of which might have been compared: with m = k - 1, a word on arms that do not differ would be false
more often than 5%.

Not for trials that differ in tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.stats import norm, t

from orchestrator.core.statistics.analysis import Floats, Steps, area_under_curve

Verdict = Literal["ahead", "behind", "no clear difference"]

LEVEL = 0.05
LEAST_P = 1e-4  # of what a bootstrap of so many resamples can tell; beyond, Student's t goes on
# With fewer tasks even a unanimous result has p > 0.05 in a two-sided sign test (2 * 0.5**5).
FEWEST_TASKS = 6
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arm A against arm B over the same tasks and seeds.

    Attributes:
        difference: mean over tasks and seeds of loss A minus loss B; negative: A is ahead.
        low, high: 95% paired bootstrap interval of it, or of another level where one was asked for.
        low_tasks, high_tasks: the interval over tasks alone: what holds of these very seeds.
        tasks_ahead: tasks in which A's loss, as the mean over seeds, is strictly lower.
        tasks, seeds: how many were compared.
        verdict: of A: "ahead" or "behind" if the interval excludes 0 and there are at least
            `FEWEST_TASKS` tasks.
    """

    difference: float
    low: float
    high: float
    low_tasks: float
    high_tasks: float
    tasks_ahead: int
    tasks: int
    seeds: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Corrected:
    """One of several arms against the same other one.

    Attributes:
        comparison: by area; its interval has the level that Holm's procedure gives it, and its
            verdict is clear only where those of all smaller p are.
        p: two-sided, the least level at which the interval of this comparison alone leaves out 0.
        p_holm: corrected for the number of comparisons; below `LEVEL` where the verdict is clear,
            if there are `FEWEST_TASKS` tasks.
    """

    comparison: Comparison
    p: float
    p_holm: float


def compare_arms(steps: Steps, a: Floats, b: Floats) -> tuple[list[Comparison], Comparison]:
    """Compare two arms over tasks and seeds, at each evaluated step and by area under the curve.

    A task without a loss at any step or seed of either arm is left out altogether. Seeds with equal
    losses throughout are one: of arms that draw nothing, another seed is no repetition.

    Args:
        steps: (S,), strictly ascending.
        a, b: (K, S, T), the arms' task losses for the same K seeds, at the same steps, on the
            same tasks.

    Returns:
        A comparison for each step, and the one by area.

    Raises:
        ValueError: the shapes differ, or no task has a loss in both arms at every step and seed.
    """
    gaps, area = _gaps(steps, a, b)
    return [_compare(part) for part in gaps], _compare(area)


def compare_several(
    steps: Steps, pairs: Sequence[tuple[Floats, Floats]], family: int | None = None
) -> list[Corrected]:
    """Compare several arms with the same other one by area under the curve, corrected by Holm.

    Args:
        steps: (S,), strictly ascending.
        pairs: of each arm its losses and those of the other one, (K, S, T) both, as for
            `compare_arms`.
        family: how many comparisons are corrected for, of which the pairs are some; None: the
            pairs. All pairs of the arms where the other one was picked by these losses.

    Returns:
        A comparison for each pair, in their order.

    Raises:
        ValueError: as `compare_arms`.
    """
    areas = [_gaps(steps, arm, other)[1] for arm, other in pairs]
    family = len(areas) if family is None else family
    values = np.array([_p_value(area, LEVEL / (2 * family)) for area in areas])
    corrected: list[Corrected | None] = [None] * len(areas)
    largest, level = 0.0, LEVEL
    for passed, at in enumerate(np.argsort(values, kind="stable").tolist()):
        left = family - passed
        held = largest < LEVEL
        # Once one has failed, all others have its level: their intervals hold 0 as well.
        level = LEVEL / left if held else level
        largest = max(largest, min(1.0, left * float(values[at])))
        result = _compare(areas[at], level)
        if largest >= LEVEL:
            result = replace(result, verdict="no clear difference")
        corrected[at] = Corrected(result, float(values[at]), largest)
    return [result for result in corrected if result is not None]


def compare_with_start(losses: Floats) -> Comparison:
    """The loss at the last step against the untouched model's at the first.

    "ahead": training lowered the loss of the set; "behind": it did harm.

    Args:
        losses: (K, S, T), as for `compare_arms`.

    Raises:
        ValueError: no task has a loss at the first and the last step of every seed.
    """
    return compare_arms(np.zeros(1, np.int64), losses[:, -1:], losses[:, :1])[1]


def _gaps(steps: Steps, a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Differences of two arms at each step (S, K, T) and by area (K, T), as `compare_arms`."""
    if a.ndim != 3 or a.shape != b.shape or a.shape[1:2] != steps.shape:
        raise ValueError(
            f"arms of shapes {a.shape} and {b.shape} at {steps.shape} steps: "
            "give (seeds, steps, tasks), the same for both"
        )
    common = ~np.isnan(a + b).any(axis=(0, 1))
    if not common.any():
        raise ValueError("no task has a loss in both arms at every step and seed")
    both = np.concatenate([a, b], axis=1)[..., common].reshape(len(a), -1)
    seeds = np.sort(np.unique(both, axis=0, return_index=True)[1])
    gaps = np.swapaxes((a - b)[seeds], 0, 1)[..., common]
    area = area_under_curve(steps, gaps.reshape(len(steps), -1)).reshape(gaps.shape[1:])
    return gaps, area


def _p_value(gap: Floats, least: float) -> float:
    """The least level at which the interval of a (K, T) table of differences leaves out 0, not
    below both `LEAST_P` and `least`; 1 of a single seed and task, which says nothing of others."""
    if gap.size == 1:
        return 1.0
    low, high = min(LEAST_P, least), 1.0
    if _excludes_zero(gap, low):
        return low
    while high / low > 1.001:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if _excludes_zero(gap, middle) else (middle, high)
    return high


def _excludes_zero(gap: Floats, level: float) -> bool:
    low, high = _limits(gap, level)
    return not low <= 0 <= high


def _limits(gap: Floats, level: float) -> tuple[float, float]:
    """The interval of the mean of a (K, T) table, over seeds and tasks."""
    low_seeds, high_seeds = _deviations(gap.mean(axis=1), level)
    low_tasks, high_tasks = _deviations(gap.mean(axis=0), level)
    mean = gap.mean()
    return (
        float(mean - np.hypot(low_seeds, low_tasks)),
        float(mean + np.hypot(high_seeds, high_tasks)),
    )


def _compare(gap: Floats, level: float = LEVEL) -> Comparison:
    """The comparison of one (K, T) table of differences, with an interval of 1 - level."""
    seeds, tasks = gap.shape
    mean, by_task = gap.mean(), gap.mean(axis=0)
    low, high = _limits(gap, level)
    low_tasks, high_tasks = _deviations(by_task, level)
    clear = tasks >= FEWEST_TASKS and not low <= 0 <= high
    verdict: Verdict = "no clear difference"
    if clear:
        verdict = "ahead" if high < 0 else "behind"
    ahead = int((by_task < 0).sum())
    return Comparison(
        float(mean), float(low), float(high), float(mean - low_tasks), float(mean + high_tasks),
        ahead, tasks, seeds, verdict,
    )  # fmt: skip


def _deviations(means: Floats, level: float) -> tuple[float, float]:
    """How far the limits of the mean of n values lie below and above it; 0 of a single one."""
    count = len(means)
    if count == 1:
        return 0.0, 0.0
    student = t.ppf(1 - level / 2, count - 1)
    if count < FEWEST_TASKS:
        margin = float(student * means.std(ddof=1) / np.sqrt(count))
        return margin, margin
    tail = max(level, LEAST_P) / 2
    low, high = np.quantile(_weights(count) @ means, [tail, 1 - tail]) - means.mean()
    widened = student / norm.ppf(1 - tail)
    return float(-low * widened), float(high * widened)


@lru_cache(maxsize=4)  # a report compares hundreds of pairs of arms on the same tasks
def _weights(count: int) -> Floats:
    """(RESAMPLES, n) weights of n units in each resample; each row sums to 1.

    Resamples of n units vary by a factor (n - 1) / n less than samples do: spread their weights
    by as much around 1 / n.
    """
    drawn = np.random.default_rng(count).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return np.asarray(1 / count + (drawn / count - 1 / count) * (count / (count - 1)) ** 0.5)
