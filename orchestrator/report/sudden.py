"""Sudden drops of a task's loss, set against the arrival of its nearest rows.

What counts as a drop stands in `core.statistics.drops`.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.statistics import drops as statistics
from orchestrator.core.statistics.drops import (
    FEWEST_INTERVALS,
    FEWEST_TASKS,
    Coincidence,
    Fall,
    coincidence,
    largest_fall,
)
from orchestrator.report.arms import stack
from orchestrator.report.tables import MISSING, Cell, Table, by_chance, loss_cell, p_value
from orchestrator.report.trial import Trial

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
class TrialDrops:
    """The sudden drops of a trial that finished.

    Attributes:
        drops: one for each task that has one.
        obstacle: why none could be looked for; empty where they were.
        coincidence: of the drops whose tasks came nearer; None where there is none.
    """

    trial: Trial
    drops: list[Drop]
    obstacle: str = ""
    coincidence: Coincidence | None = None


def sudden_drops(trials: list[Trial]) -> list[TrialDrops]:
    """The drops of each finished trial after step 0, on the query set.

    Empty where no drop is sudden and no trial trained in task blocks.
    """
    rows = [_trial_drops(trial) for trial in trials if trial.finished]
    clustered = any(row.trial.arrangement.get("method") == "cluster" for row in rows)
    return rows if clustered or any(row.drops for row in rows) else []


def _trial_drops(trial: Trial) -> TrialDrops:
    """The drops of one trial, each beside the largest fall of its task's distance."""
    # Whether there is enough to look at.
    losses, distances = trial.task_losses("query"), trial.task_measure(MEASURE)
    if losses is None:
        return TrialDrops(trial, [], "no losses")
    if trial.unlabelled("query"):
        return TrialDrops(trial, [], "no task labels")
    if len(losses.tasks) < FEWEST_TASKS:
        return TrialDrops(trial, [], "too few tasks")
    later = losses._replace(steps=losses.steps[1:], losses=losses.losses[1:])
    if len(later.steps) <= FEWEST_INTERVALS:
        return TrialDrops(trial, [], "too few evaluations")

    # When each task's nearest row came nearer by most.
    nears: dict[str, Fall | None] = {}
    stacked = stack([later, distances]) if distances is not None else None
    if stacked is not None:
        steps, tasks, (_, nearness) = stacked
        nears = {
            task: largest_fall(steps, column)
            for task, column in zip(tasks, nearness.T, strict=True)
        }

    # The drops, and how many came in the interval of their nearest rows.
    falls = statistics.sudden_drops(later.steps, later.losses)
    drops = [
        Drop(trial, task, fall, nears.get(task))
        for task, fall in zip(later.tasks, falls, strict=True)
        if fall is not None
    ]
    pairs = [(drop.fall.step, drop.near.step) for drop in drops if drop.near is not None]
    matched = coincidence(*zip(*pairs, strict=True)) if pairs else None
    return TrialDrops(trial, drops, "", matched)


def match_table(rows: list[TrialDrops]) -> Table | None:
    """For each trial how many drops came with their nearest rows; None without any trial."""
    headers = ["trial", "sudden drops", "with near rows", "in the same interval", "by chance", "p"]
    return Table(headers, [_match_row(row) for row in rows]) if rows else None


def _match_row(row: TrialDrops) -> list[Cell]:
    missing = Cell(MISSING, "number")
    if row.obstacle:
        return [Cell(row.trial.name), Cell(row.obstacle), *[missing] * 4]
    cells = [Cell(row.trial.name), Cell(str(len(row.drops)), "number")]
    if row.coincidence is None:
        return [*cells, Cell("0", "number"), *[missing] * 3]
    return [
        *cells,
        Cell(str(row.coincidence.drops), "number"),
        Cell(str(row.coincidence.matched), "number"),
        Cell(by_chance(row.coincidence.by_chance), "number"),
        Cell(p_value(row.coincidence.p_value), "number"),
    ]


def drop_table(rows: list[TrialDrops]) -> Table:
    """The `SHOWN` largest drops of all trials, the largest first."""
    table = Table(["trial", "task", "loss dropped", "more than the others by", "nearest row came"])
    drops = [drop for row in rows for drop in row.drops]
    for drop in sorted(drops, key=lambda drop: -drop.fall.size)[:SHOWN]:
        table.rows.append(
            [
                Cell(drop.trial.name),
                Cell(drop.task),
                Cell(_between(drop.fall)),
                loss_cell(drop.fall.size),
                Cell(_between(drop.near) if drop.near else MISSING),
            ]
        )
    return table


def _between(fall: Fall) -> str:
    return f"between steps {fall.before:,} and {fall.step:,}"
