"""Sudden drops of a task's loss, set against the arrival of its nearest rows.

What counts as a drop stands in `core.statistics.drops`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.statistics.drops import (
    FEWEST_INTERVALS,
    FEWEST_TASKS,
    Fall,
    coincidence,
    largest_fall,
)
from orchestrator.core.statistics.drops import sudden_drops as find_drops
from orchestrator.report.arms import stack
from orchestrator.report.read import Trial
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, number

SHOWN = 50  # drops listed at most, the largest first
MEASURE = "cosine_min"


@dataclass(frozen=True)
class Drop:
    """A sudden drop of a task's loss; `near` is the largest fall of its distance, if it fell."""

    trial: Trial
    task: str
    fall: Fall
    near: Fall | None


@dataclass(frozen=True)
class SuddenDrops:
    """Tables of the section; `matches` has a row for each trial that finished."""

    matches: Table
    drops: Table
    found: int


def sudden_drops(trials: list[Trial]) -> SuddenDrops | None:
    """The section's tables; None where no drop is sudden and no trial trained in task blocks."""
    looked_at = {trial: _drops(trial) for trial in trials if trial.finished}
    drops = [drop for found in looked_at.values() if not isinstance(found, str) for drop in found]
    clustered = any(
        trial.config.get("arrangement", {}).get("method") == "cluster" for trial in looked_at
    )
    if not drops and not clustered:
        return None
    matches = Table(
        ["trial", "sudden drops", "with near rows", "in the same interval", "by chance", "p"],
        [_match_row(trial, found) for trial, found in looked_at.items()],
    )
    listed = Table(["trial", "task", "loss dropped", "more than the others by", "nearest row came"])
    for drop in sorted(drops, key=lambda drop: -drop.fall.size)[:SHOWN]:
        listed.rows.append(
            [
                Cell(drop.trial.name),
                Cell(drop.task),
                Cell(_between(drop.fall)),
                Cell(number(drop.fall.size), "number"),
                Cell(_between(drop.near) if drop.near else MISSING),
            ]
        )
    return SuddenDrops(matches, listed, len(drops))


def _drops(trial: Trial) -> list[Drop] | str:
    """Sudden drops of the trial's query tasks after step 0, or why none can be told."""
    losses, distances = trial.task_losses("query"), trial.task_measure(MEASURE)
    if losses is None:
        return "no losses"
    if trial.unlabelled("query"):
        return "no task labels"
    if len(losses.tasks) < FEWEST_TASKS:
        return "too few tasks"
    later = losses._replace(steps=losses.steps[1:], losses=losses.losses[1:])
    if len(later.steps) <= FEWEST_INTERVALS:
        return "too few evaluations"
    nears: dict[str, Fall | None] = {}
    stacked = stack([later, distances]) if distances is not None else None
    if stacked is not None:
        steps, tasks, (_, nearness) = stacked
        nears = {
            task: largest_fall(steps, column)
            for task, column in zip(tasks, nearness.T, strict=True)
        }
    falls = find_drops(later.steps, later.losses)
    return [
        Drop(trial, task, fall, nears.get(task))
        for task, fall in zip(later.tasks, falls, strict=True)
        if fall is not None
    ]


def _match_row(trial: Trial, drops: list[Drop] | str) -> list[Cell]:
    if isinstance(drops, str):
        return [Cell(trial.name), Cell(drops), *[Cell(MISSING, "number")] * 4]
    pairs = [(drop.fall.step, drop.near.step) for drop in drops if drop.near is not None]
    cells = [Cell(trial.name), Cell(str(len(drops)), "number"), Cell(str(len(pairs)), "number")]
    if not pairs:
        return [*cells, *[Cell(MISSING, "number")] * 3]
    fell, near = zip(*pairs, strict=True)
    found = coincidence(fell, near)
    return [
        *cells,
        Cell(str(found.matched), "number"),
        Cell(f"{found.by_chance:.1f}", "number"),
        Cell(f"{found.p_value:.3f}", "number"),
    ]


def _between(fall: Fall) -> str:
    return f"between steps {fall.before:,} and {fall.step:,}"
