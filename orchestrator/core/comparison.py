"""Two arms compared over test tasks and seeds: the gap between their losses and its interval.

Both arms are measured on the same tasks, and paired by seed, so that what tasks and seeds have in
common cancels. The interval is a two-level bootstrap: every resample draws seeds and tasks with
replacement, each level by itself as in Owen 2007, "The pigeonhole bootstrap". The two effects are
added; his product of them counts the noise of single (seed, task) cells three times where the
sum does so twice. So the interval is wide rather than narrow where that noise is all there is.
With one seed it covers the choice of tasks only, and says nothing of another seed.

Not for trials that differ in tasks, nor for picking the best of many arms: the winner of many
comparisons is flattered by its interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from orchestrator.core.analysis import Floats, Steps, area_under_curve

Verdict = Literal["ahead", "behind", "no clear difference"]

# With fewer tasks even a unanimous result has p > 0.05 in a two-sided sign test (2 * 0.5**5).
FEWEST_TASKS = 6


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arm A against arm B over the same tasks and seeds.

    Attributes:
        difference: mean over tasks and seeds of loss A minus loss B; negative: A is ahead.
        low, high: 95% paired bootstrap interval of it.
        tasks_ahead: tasks in which A's loss, as the mean over seeds, is strictly lower.
        tasks, seeds: how many were compared.
        verdict: of A: "ahead" or "behind" if the interval excludes 0 and there are at least
            `FEWEST_TASKS` tasks.
    """

    difference: float
    low: float
    high: float
    tasks_ahead: int
    tasks: int
    seeds: int
    verdict: Verdict

    @property
    def covers(self) -> str:
        """What the interval allows for."""
        return "the choice of tasks" if self.seeds == 1 else "the choice of tasks and of seeds"


def compare_arms(
    steps: Steps, a: Floats, b: Floats, *, seed: int = 0, resamples: int = 10_000
) -> tuple[list[Comparison], Comparison]:
    """Compare two arms over tasks and seeds, at each evaluated step and by area under the curve.

    A task without a loss at any step or seed of either arm is left out altogether.

    Args:
        steps: (S,), strictly ascending.
        a, b: (K, S, T), the arms' task losses for the same K seeds, at the same steps, on the
            same tasks.
        seed: of the resampling.
        resamples: number of bootstrap draws.

    Returns:
        A comparison for each step, and the one by area.

    Raises:
        ValueError: the shapes differ, or no task has a loss in both arms at every step and seed.
    """
    if a.ndim != 3 or a.shape != b.shape or a.shape[1:2] != steps.shape:
        raise ValueError(
            f"arms of shapes {a.shape} and {b.shape} at {steps.shape} steps: "
            "give (seeds, steps, tasks), the same for both"
        )
    common = ~np.isnan(a + b).any(axis=(0, 1))
    if not common.any():
        raise ValueError("no task has a loss in both arms at every step and seed")
    gaps = np.swapaxes(a - b, 0, 1)[..., common]  # (S, K, T)
    area = area_under_curve(steps, gaps.reshape(len(steps), -1)).reshape(gaps.shape[1:])

    seeds, tasks = gaps.shape[1:]
    weights = _weights(seeds, resamples, (seed, 0)), _weights(tasks, resamples, (seed, 1))
    rows = [_compare(part, *weights) for part in [*gaps, area]]
    return rows[:-1], rows[-1]


def compare_with_start(losses: Floats, *, seed: int = 0) -> Comparison:
    """The loss at the last step against the untouched model's at the first.

    "ahead": training lowered the loss of the set; "behind": it did harm.

    Args:
        losses: (K, S, T), as for `compare_arms`.
        seed: of the resampling.

    Raises:
        ValueError: no task has a loss at the first and the last step of every seed.
    """
    return compare_arms(np.zeros(1, np.int64), losses[:, -1:], losses[:, :1], seed=seed)[1]


@lru_cache(maxsize=4)  # a report compares hundreds of pairs of arms on the same tasks
def _weights(count: int, resamples: int, seed: tuple[int, int]) -> Floats:
    """(R, n) weights of n units in each resample; each row sums to 1.

    Resamples of n units vary by a factor (n - 1) / n less than samples do: spread their weights
    by as much around 1 / n.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples) / count
    return np.asarray(1 / count + (drawn - 1 / count) * (count / max(count - 1, 1)) ** 0.5)


def _compare(gap: Floats, seed_weights: Floats, task_weights: Floats) -> Comparison:
    """The comparison of one (K, T) table of differences, by weights (R, K) and (R, T)."""
    seeds, tasks = gap.shape
    mean = gap.mean()
    resampled = seed_weights @ gap.mean(axis=1) + task_weights @ gap.mean(axis=0) - mean
    low, high = mean + _student(gap) * (np.quantile(resampled, [0.025, 0.975]) - mean)
    clear = tasks >= FEWEST_TASKS and not low <= 0 <= high
    verdict: Verdict = "no clear difference"
    if clear:
        verdict = "ahead" if high < 0 else "behind"
    ahead = int((gap.mean(axis=0) < 0).sum())
    return Comparison(float(mean), float(low), float(high), ahead, tasks, seeds, verdict)


def _student(gap: Floats) -> float:
    """Student's t over the normal quantile, by which few units make an interval wider.

    Without it the percentiles cover the mean only 90% of the time with ten tasks (Hesterberg
    2015, "What Teachers Should Know About the Bootstrap"). The degrees of freedom are those of
    the sum of two variances, of seeds and of tasks (Satterthwaite 1946).
    """
    parts = [(_variance_of_mean(gap.mean(axis=1 - axis)), gap.shape[axis] - 1) for axis in (0, 1)]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 1.0
    freedom = total**2 / sum(variance**2 / count for variance, count in parts if count)
    return float(t.ppf(0.975, freedom) / norm.ppf(0.975))


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0
