"""How long arms were trained, by rows and steps: whether their ends can stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.report.arms import Arm


@dataclass(frozen=True)
class Budget:
    """What an arm was trained on.

    Attributes:
        rows: the least and the most of its trials; None where a plan is missing.
        steps: likewise, up to the last measurement of the query set.
        batch: rows of a step; None where the configuration is missing.
    """

    rows: tuple[int, int] | None
    steps: tuple[int, int]
    batch: int | None = None

    @property
    def words(self) -> str:
        """Rows and steps, as ranges where the seeds differ."""
        steps = f"{_range_words(self.steps)} steps"
        return steps if self.rows is None else f"{_range_words(self.rows)} rows ({steps})"

    @property
    def length(self) -> tuple[tuple[int, int], int | None]:
        """What is alike of arms that were trained equally long: but for the last batch, which may
        be short of a few rows."""
        return self.steps, self.batch


def query_curves_of(arm: Arm) -> list[TaskCurves]:
    """The query losses of each trial of an arm of a basis, which all have some."""
    curves = (trial.task_losses("query") for trial in arm.trials)
    return [curve for curve in curves if curve is not None]


def _last_steps(arm: Arm) -> list[int]:
    """The last step of each trial at which the query set was measured."""
    return [int(curves.steps[-1]) for curves in query_curves_of(arm)]


def ends_differ(arms: Sequence[Arm]) -> bool:
    """Whether trials of the same seed end at different steps; any, where arms share no seed.

    Seeds draw other rows, and may differ in how many, without a word on the arms.
    """
    common = set.intersection(*(set(arm.seeds) for arm in arms))
    ends: dict[tuple[str, ...], set[int]] = {}
    for arm in arms:
        for seed, step in zip(arm.seeds, _last_steps(arm), strict=True):
            ends.setdefault(seed if common else (), set()).add(step)
    return any(len(steps) > 1 for steps in ends.values())


def budget_of(arm: Arm) -> Budget:
    """What an arm of a basis was trained on."""
    rows, steps = [trial.rows_fed for trial in arm.trials], _last_steps(arm)
    known = [count for count in rows if count is not None]
    fed = (min(known), max(known)) if len(known) == len(rows) else None
    batch = arm.trials[0].config.get("training", {}).get("global_batch")
    return Budget(fed, (min(steps), max(steps)), batch)


def _range_words(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
