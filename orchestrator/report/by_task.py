"""The losses of every arm on every task, as tables of the page and, whole, as a CSV file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.statistics.analysis import TaskCurves, area_under_curve
from orchestrator.report.arms import Arm, mean_curves, unit_of
from orchestrator.report.figures import SETS
from orchestrator.report.tables import Cell, Table, loss_cell
from orchestrator.storage.artifacts import replacing

SHOWN_TASKS = 200  # of a set; the file has all
HEADER = (
    "set",
    "task",
    "arm",
    "seeds",
    "first_step",
    "first_loss",
    "last_step",
    "last_loss",
    "area",
)


@dataclass(frozen=True)
class SetByTask:
    """A test set, task by task.

    Attributes:
        title: of the set, in words.
        unit: "task", or "instance" where its instances have none.
        tasks: how many there are.
        table: the loss of each at the last step of each arm, of the first `SHOWN_TASKS`.
    """

    title: str
    unit: str
    tasks: int
    table: Table


def sets_by_task(arms: list[Arm]) -> list[SetByTask]:
    """A table for each test set that any arm was measured on."""
    found = []
    for key, title in SETS.items():
        curves = _curves(arms, key)
        if not curves:
            continue
        tasks = sorted({task for curve in curves.values() for task in curve.tasks})
        unit = unit_of((trial for arm in curves for trial in arm.trials), key)
        found.append(SetByTask(title, unit, len(tasks), _table(unit, tasks[:SHOWN_TASKS], curves)))
    return found


def _curves(arms: list[Arm], test_set: str) -> dict[Arm, TaskCurves]:
    """The mean over seeds of each task's curve, of the arms that have one."""
    means = {
        arm: mean_curves([trial.task_losses(test_set) for trial in arm.trials]) for arm in arms
    }
    return {arm: curve for arm, curve in means.items() if curve is not None}


def _table(unit: str, tasks: list[str], curves: dict[Arm, TaskCurves]) -> Table:
    ends = {int(curve.steps[-1]) for curve in curves.values()}
    table = Table(
        [
            unit,
            *(
                arm.label if len(ends) == 1 else f"{arm.label}, step {curve.steps[-1]:,}"
                for arm, curve in curves.items()
            ),
        ]
    )
    last = {
        arm: dict(zip(curve.tasks, curve.losses[-1].tolist(), strict=True))
        for arm, curve in curves.items()
    }
    for task in tasks:
        losses = [last[arm].get(task) for arm in curves]
        rivals = {last[arm][task] for arm in curves if arm.finished and task in last[arm]}
        best = min(rivals) if len(rivals) > 1 else None
        cells = [loss_cell(loss, best=loss is not None and loss == best) for loss in losses]
        table.rows.append([Cell(task), *cells])
    return table


def write_tasks(arms: list[Arm], path: Path) -> None:
    """A line for each test set, task and arm: its loss at the first and the last step, as the mean
    over seeds in nats, and the area under its curve."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for key in SETS:
            for arm, curve in _curves(arms, key).items():
                first, last = int(curve.steps[0]), int(curve.steps[-1])
                areas = area_under_curve(curve.steps, curve.losses)
                for at, task in enumerate(curve.tasks):
                    losses = curve.losses[0, at], curve.losses[-1, at]
                    writer.writerow(
                        [key, task, arm.name, len(arm.trials), first, losses[0], last, losses[1],
                         areas[at]]
                    )  # fmt: skip
