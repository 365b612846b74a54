"""Arms: the trials of a study grouped over their seeds, and what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import compress
from typing import TypeVar

import numpy as np

from orchestrator.core.statistics.analysis import Floats, Steps, TaskCurves, area_under_curve
from orchestrator.report.trial import Trial

Value = TypeVar("Value")


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
        """Whether its trials were trained to the end."""
        return self.trials[0].finished

    @property
    def stopped(self) -> bool:
        """Whether a scheduler ended its trial early."""
        return self.trials[0].stopped

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the trials whose results it has: arms with the same ones cannot differ."""
        return tuple(sorted(trial.result_of for trial in self.trials))

    @property
    def label(self) -> str:
        """The name, with the state where it is not the expected one."""
        return self.name if self.finished else f"{self.name} ({self.trials[0].state})"

    @property
    def seeds(self) -> list[tuple[str, ...]]:
        """The seeds of each trial, as `Trial.seed`."""
        return [trial.seed for trial in self.trials]

    @property
    def seed_words(self) -> list[str]:
        """What tells each of several trials from the others: the seeds in which they differ, once
        where they are all the same."""
        differ = [len(set(values)) > 1 for values in zip(*self.seeds, strict=True)]
        told = [tuple(compress(seed, differ)) for seed in self.seeds]
        alike = all(len(set(seeds)) <= 1 for seeds in told)
        return [f"seed {', '.join(seeds[:1] if alike else seeds)}" for seeds in told]

    def sampled_steps(self, test_set: str) -> set[int]:
        """The steps at which only a part of a set was measured in any of its trials."""
        return set().union(*(trial.sampled_steps(test_set) for trial in self.trials))


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


def by_results(arms: Iterable[Arm]) -> dict[tuple[str, ...], Arm]:
    """The arms of which none repeats another one, by `Arm.results`: of those that cannot differ the
    first."""
    found: dict[tuple[str, ...], Arm] = {}
    for arm in arms:
        found.setdefault(arm.results, arm)
    return found


def unit_of(trials: Iterable[Trial], test_set: str = "query") -> str:
    """What a set is compared over: "task", or "instance" where its instances have none."""
    return "instance" if any(trial.unlabelled(test_set) for trial in trials) else "task"


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


@dataclass(frozen=True)
class CommonBasis:
    """What finished arms have in common, so that their means can stand side by side.

    Attributes:
        arms: each with its trials of the seeds that all arms finished.
        steps: (S,), at which all were evaluated.
        tasks: those that all have losses of.
        areas: by name of the arm, under its mean curve over these steps and the common tasks.
        whole: whether every arm ends at the last of these steps.
        left_out: trials of other seeds; empty also where the arms have no seed in common.
    """

    arms: list[Arm]
    steps: Steps
    tasks: list[str]
    areas: dict[str, float]
    whole: bool
    left_out: list[Trial]


def common_basis(arms: Sequence[Arm]) -> CommonBasis | None:
    """The seeds, steps and tasks that all finished arms with query losses share.

    Arms without a common seed keep their own. None where no step or no task is common.
    """
    measured = {
        arm: {trial: curves for trial in arm.trials if (curves := trial.task_losses("query"))}
        for arm in arms
        if arm.finished
    }
    measured = {arm: by_trial for arm, by_trial in measured.items() if by_trial}
    common, left_out = common_seeds(measured)
    kept = common or measured
    stacked = stack([curves for by_trial in kept.values() for curves in by_trial.values()])
    if stacked is None:
        return None
    steps, tasks, losses = stacked
    # One area a trial, in the order of the stack, then the mean of each arm's.
    each = iter([area(steps, part) for part in losses])
    areas = {
        arm.name: float(np.mean([next(each) for _ in by_trial])) for arm, by_trial in kept.items()
    }
    ends = {int(curves.steps[-1]) for by_trial in kept.values() for curves in by_trial.values()}
    same = [replace(arm, trials=[*by_trial]) for arm, by_trial in kept.items()]
    return CommonBasis(same, steps, tasks, areas, ends == {int(steps[-1])}, left_out)


def common_seeds(
    values: Mapping[Arm, Mapping[Trial, Value]],
) -> tuple[dict[Arm, dict[Trial, Value]], list[Trial]]:
    """The values of the trials whose seeds all arms have, and the trials left out.

    Means over other seeds differ by more than the arms do. Both are empty without a common seed.
    """
    seeds = [{trial.seed for trial in by_trial} for by_trial in values.values()]
    common = set.intersection(*seeds) if seeds else set()
    if not common:
        return {}, []
    kept = {
        arm: {trial: value for trial, value in by_trial.items() if trial.seed in common}
        for arm, by_trial in values.items()
    }
    trials = [trial for by_trial in values.values() for trial in by_trial]
    return kept, [trial for trial in trials if trial.seed not in common]


def area(steps: Steps, losses: Floats) -> float:
    """Mean over tasks of the area under curves (S, T)."""
    return float(area_under_curve(steps, losses).mean())
