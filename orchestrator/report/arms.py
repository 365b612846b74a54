"""Arms: the trials of a study grouped over their seeds, and two arms set against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from orchestrator.core.analysis import Floats, Steps, TaskCurves, area_under_curve
from orchestrator.core.comparison import Comparison, compare_arms
from orchestrator.report.read import Trial


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Arm:
    """The trials that differ in their seed alone.

    Attributes:
        index: place among the arms; chooses colour, dash and marker.
        trials: those that finished; all of them where none did, to show what they left. A trial
            that was stopped early is an arm by itself.
    """

    index: int
    name: str
    trials: list[Trial]

    @property
    def finished(self) -> bool:
        return self.trials[0].finished

    @property
    def stopped(self) -> bool:
        return self.trials[0].stopped

    @property
    def label(self) -> str:
        """The name, with the state where it is not the expected one."""
        return self.name if self.finished else f"{self.name} ({self.trials[0].state})"

    @property
    def seeds(self) -> list[tuple[str, ...]]:
        return [trial.seed for trial in self.trials]


def group_arms(trials: list[Trial]) -> list[Arm]:
    """The arms in the order of summary.csv.

    A mean over seeds that ended at different steps has no meaning: stopped trials stay apart, under
    their own names where the arm has other trials.
    """
    sizes = Counter(trial.arm for trial in trials)
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        apart = trial.stopped and sizes[trial.arm] > 1
        groups.setdefault(trial.name if apart else trial.arm, []).append(trial)
    return [
        Arm(index, name, [trial for trial in group if trial.finished] or group)
        for index, (name, group) in enumerate(groups.items())
    ]


def stack(curves: Sequence[TaskCurves]) -> tuple[Steps, list[str], Floats] | None:
    """Curves on the steps and tasks that all of them have.

    Returns:
        The steps (S,), the T tasks and the losses (N, S, T); None where nothing is common.
    """
    if not curves:
        return None
    steps = reduce(np.intersect1d, [curve.steps for curve in curves])
    tasks = sorted(set.intersection(*(set(curve.tasks) for curve in curves)))
    if len(steps) == 0 or not tasks:
        return None
    cells = [
        curve.losses[
            np.ix_(np.searchsorted(curve.steps, steps), np.searchsorted(curve.tasks, tasks))
        ]
        for curve in curves
    ]
    return steps, tasks, np.stack(cells)


def mean_curves(curves: Sequence[TaskCurves | None]) -> TaskCurves | None:
    """The mean over seeds of each task's curve; None where there is nothing in common."""
    stacked = stack([curve for curve in curves if curve is not None])
    if stacked is None:
        return None
    steps, tasks, losses = stacked
    return TaskCurves(steps, tasks, losses.mean(axis=0))


def query_curves(arm: Arm) -> TaskCurves | None:
    """Query loss of each task as the mean over seeds; None without any."""
    return mean_curves([trial.task_losses("query") for trial in arm.trials])


def area(curves: TaskCurves) -> float:
    """Mean over tasks of the area under the curve."""
    return float(area_under_curve(curves.steps, curves.losses).mean())


@dataclass(frozen=True)
class Contrast:
    """Arm A against arm B on their common seeds, steps and tasks; `a` and `b` are the means."""

    a_name: str
    b_name: str
    a: TaskCurves
    b: TaskCurves
    by_step: dict[int, Comparison]
    by_area: Comparison

    @property
    def half_way(self) -> int | None:
        """The evaluated step nearest to half of training; None where that is one of the ends."""
        steps = self.a.steps
        step = int(steps[np.abs(steps - steps[-1] / 2).argmin()])
        return None if step in (steps[0], steps[-1]) else step

    @property
    def end(self) -> int:
        return int(self.a.steps[-1])


def contrast(
    a_name: str, b_name: str, pairs: Sequence[tuple[TaskCurves, TaskCurves]]
) -> Contrast | None:
    """Compare two arms by their curves for each seed; None when these have nothing in common."""
    stacked = stack([curves for pair in pairs for curves in pair])
    if stacked is None:
        return None
    steps, tasks, losses = stacked
    a, b = losses[::2], losses[1::2]
    by_step, by_area = compare_arms(steps, a, b)
    return Contrast(
        a_name,
        b_name,
        TaskCurves(steps, tasks, a.mean(axis=0)),
        TaskCurves(steps, tasks, b.mean(axis=0)),
        dict(zip(steps.tolist(), by_step, strict=True)),
        by_area,
    )


def contrast_arms(a: Arm, b: Arm) -> Contrast | None:
    """Query losses of two finished arms, paired by seed; None when they cannot be compared."""
    if not a.finished or not b.finished:
        return None
    return contrast(a.name, b.name, [curves for _, curves in paired(a, b)])


def paired(a: Arm, b: Arm) -> list[tuple[tuple[Trial, Trial], tuple[TaskCurves, TaskCurves]]]:
    """The trials of both arms that share a seed and have query losses, with these."""
    others = {trial.seed: trial for trial in b.trials}
    assert len(others) == len(b.trials), f"two trials of {b.name} share a seed"
    both = [(trial, others[trial.seed]) for trial in a.trials if trial.seed in others]
    curves = [(pair, tuple(trial.task_losses("query") for trial in pair)) for pair in both]
    return [(pair, (x, y)) for pair, (x, y) in curves if x is not None and y is not None]
