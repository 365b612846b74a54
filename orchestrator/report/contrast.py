"""Two arms set against each other, on the seeds, steps and tasks that they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import Steps, TaskCurves
from orchestrator.core.statistics.comparison import (
    Comparison,
    Corrected,
    compare_arms,
    compare_several,
)
from orchestrator.report.arms import Arm, by_results, mean_curves, stack, unit_of
from orchestrator.report.figures import SETS
from orchestrator.report.trial import Trial

HALF_WAY = 0.05  # of training: how far from its half an evaluated step may lie


@dataclass(frozen=True)
class Contrast:
    """Arm A against arm B on their common seeds, steps and tasks.

    Attributes:
        a, b: the means over seeds.
        whole: whether all trials of both end at the last of these steps.
        unit: "task" or "instance", whichever the curves are of.
    """

    a_name: str
    b_name: str
    a: TaskCurves
    b: TaskCurves
    by_step: dict[int, Comparison]
    by_area: Comparison
    whole: bool
    unit: str

    @property
    def middle(self) -> int | None:
        """The evaluated step nearest to half of the last; None where that is one of the ends."""
        steps = self.a.steps
        step = int(steps[np.abs(steps - steps[-1] / 2).argmin()])
        return None if step in (steps[0], steps[-1]) else step

    @property
    def middle_words(self) -> str:
        """What the middle is called: half-way only where it lies so, of all of training."""
        if self.middle is None:
            return "half-way"
        is_half = abs(self.middle / self.end - 1 / 2) <= HALF_WAY
        return "half-way" if self.whole and is_half else f"at step {self.middle:,} of {self.end:,}"

    @property
    def end(self) -> int:
        """The last step at which the arms are compared."""
        return int(self.a.steps[-1])


def contrast(
    a_name: str,
    b_name: str,
    pairs: Sequence[tuple[TaskCurves, TaskCurves]],
    steps: Steps | None = None,
    unit: str = "task",
) -> Contrast | None:
    """Compare two arms by their curves for each seed.

    Args:
        pairs: curves of A and of B, a pair for each seed.
        steps: those at which the arms are compared, of the steps they share; None: all of these.
        unit: what a curve is of, "task" or "instance".

    Returns:
        None where the curves have nothing in common.
    """
    curves = [curve for pair in pairs for curve in pair]
    stacked = stack([curve if steps is None else curves_at(curve, steps) for curve in curves])
    if stacked is None:
        return None
    shared, tasks, losses = stacked
    a, b = losses[::2], losses[1::2]
    by_step, by_area = compare_arms(shared, a, b)
    return Contrast(
        a_name,
        b_name,
        TaskCurves(shared, tasks, a.mean(axis=0)),
        TaskCurves(shared, tasks, b.mean(axis=0)),
        dict(zip(shared.tolist(), by_step, strict=True)),
        by_area,
        all(curve.steps[-1] == shared[-1] for curve in curves),
        unit,
    )


def curves_at(curves: TaskCurves, steps: Steps) -> TaskCurves:
    """The curves at those of the steps that they have."""
    kept = np.isin(curves.steps, steps)
    return curves._replace(steps=curves.steps[kept], losses=curves.losses[kept])


def arm_contrast(
    a: Arm, b: Arm, test_set: str = "query", steps: Steps | None = None
) -> Contrast | None:
    """Losses of two finished arms, paired by seed; None when they cannot be compared.

    Args:
        test_set: whose losses.
        steps: as for `contrast`.
    """
    pairs = seed_pairs(a, b, test_set)
    return contrast(a.name, b.name, pairs, steps, unit_of([*a.trials, *b.trials], test_set))


def seed_pairs(a: Arm, b: Arm, test_set: str) -> list[tuple[TaskCurves, TaskCurves]]:
    """The curves of two finished arms for each seed that they share; empty of others."""
    if not a.finished or not b.finished:
        return []
    by_seed: dict[tuple[str, ...], list[tuple[TaskCurves, TaskCurves]]] = {}
    for near, far in trial_pairs(a, b):
        curves = near.task_losses(test_set), far.task_losses(test_set)
        if curves[0] is not None and curves[1] is not None:
            by_seed.setdefault(near.seed, []).append((curves[0], curves[1]))
    means = [tuple(map(mean_curves, zip(*pairs, strict=True))) for pairs in by_seed.values()]
    return [(x, y) for x, y in means if x is not None and y is not None]


def compare_with(
    one: Arm,
    arms: Sequence[Arm],
    test_set: str,
    cut: Callable[[TaskCurves], TaskCurves],
    family: int | None = None,
) -> dict[Arm, Corrected]:
    """Finished arms against one of them, corrected for their number as by `compare_several`.

    Arms that cannot differ are one comparison, which each of them gets.

    Args:
        test_set: whose losses.
        cut: leaves the same steps of every curve.
        family: as for `compare_several`.

    Returns:
        Each arm minus the one, without those that share no seed, step or task with it.
    """
    losses, steps = {}, np.zeros(0, np.int64)
    for results, arm in by_results(arms).items():
        pairs = seed_pairs(arm, one, test_set)
        stacked = stack([cut(curve) for pair in pairs for curve in pair])
        if stacked is not None:
            steps, losses[results] = stacked[0], (stacked[2][::2], stacked[2][1::2])
    compared = dict(zip(losses, compare_several(steps, [*losses.values()], family), strict=True))
    return {arm: compared[arm.results] for arm in arms if arm.results in compared}


def trial_pairs(a: Arm, b: Arm) -> list[tuple[Trial, Trial]]:
    """The trials of both arms that share a seed; of several the first, the second and so on."""
    others: dict[tuple[str, ...], list[Trial]] = {}
    for trial in b.trials:
        others.setdefault(trial.seed, []).append(trial)
    waiting = {seed: iter(trials) for seed, trials in others.items()}
    matches = ((trial, next(waiting.get(trial.seed, iter(())), None)) for trial in a.trials)
    return [(trial, other) for trial, other in matches if other is not None]


def set_contrasts(a: Arm, b: Arm, steps: Steps | None = None) -> dict[str, Contrast]:
    """The contrast of two arms on each test set that both were measured on, by its title.

    Args:
        steps: as for `contrast`.
    """
    contrasts = {title: arm_contrast(a, b, key, steps) for key, title in SETS.items()}
    return {title: result for title, result in contrasts.items() if result is not None}
