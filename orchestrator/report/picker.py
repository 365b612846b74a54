"""Single tasks: one figure of the page to choose the task in, and some tasks side by side as PNG.

The page shows a task's loss and its nearest row, arm by arm; the PNG the losses alone.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from plotly.subplots import make_subplots

from orchestrator.core.statistics.analysis import Floats, Steps, TaskCurves
from orchestrator.report.arms import Arm, mean_curves, query_curves, unit_of
from orchestrator.report.drawing import figure_html, line_trace, save_png, set_layout
from orchestrator.report.figures import STEP, Panel, mean_line, panel_of
from orchestrator.report.tables import short_text

KEY = "task-picker"
WORDS = "The loss of the chosen task, and its nearest row, by step: a line for each arm."
MEASURE = "cosine_min"
POINTS = 60  # of a line at most: every task of every arm is in the page
DIGITS = 4
# Of the PNG: more panels, or more lines of names below them, are not read.
PANELS, COLUMNS, NAME_LINES = 12, 4, 50
TITLE_CHARS, LINE_CHARS = 30, 240


@dataclass(frozen=True)
class TaskPicker:
    """The figure with its first task drawn, and what the page needs to draw another.

    Attributes:
        html: of the figure.
        tasks: names, ascending.
        values: for each task the y of every line of the figure.
    """

    html: str
    tasks: list[str]
    values: list[list[list[float | None]]]


def task_picker(arms: list[Arm]) -> TaskPicker | None:
    """Loss and distance of each task, as means over seeds; None without any loss."""
    lines = [
        (row, arm, curves)
        for arm in arms
        for row, curves in enumerate((query_curves(arm), _distances(arm)), start=1)
        if curves is not None
    ]
    tasks = sorted({task for row, _, curves in lines if row == 1 for task in curves.tasks})
    if not tasks:
        return None
    # Distances are of tasks: where instances are compared they have no place.
    lines = [line for line in lines if not set(tasks).isdisjoint(line[2].tasks)]
    rows = max(row for row, _, _ in lines)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    series = []
    for row, arm, curves in lines:
        kept = _shown_places(curves.steps)
        series.append({task: _rounded_values(curves, task, kept) for task in tasks})
        hollow = arm.sampled_steps("query") if row == 1 else ()
        drawn = line_trace(arm, curves.steps[kept], series[-1][tasks[0]], hollow)
        figure.add_scatter(**drawn, row=row, col=1)
    set_layout(figure)
    figure.update_xaxes(rangemode="tozero", hoverformat=".0f")
    figure.update_xaxes(title=STEP, row=rows)
    for row, title in enumerate(("Loss", MEASURE)[:rows], start=1):
        figure.update_yaxes(title=title, row=row)
    values = [[by_task[task] for by_task in series] for task in tasks]
    return TaskPicker(figure_html(figure, KEY, WORDS, height=260 * rows), tasks, values)


def _distances(arm: Arm) -> TaskCurves | None:
    return mean_curves([trial.task_measure(MEASURE) for trial in arm.trials])


def _shown_places(steps: Steps) -> Steps:
    """Places of evenly spread evaluations, the first and the last among them."""
    count = min(POINTS, len(steps))
    return np.linspace(0, len(steps) - 1, count).round().astype(np.int64)


def _rounded_values(curves: TaskCurves, task: str, kept: Steps) -> list[float | None]:
    """The values of a task; None in JSON is a gap."""
    if task not in curves.tasks:
        return [None] * len(kept)
    column: Floats = curves.losses[kept, curves.tasks.index(task)]
    return [None if np.isnan(value) else round(float(value), DIGITS) for value in column]


def save_task_png(arms: list[Arm], path: Path) -> None:
    """Draw the losses of single tasks; no file without any.

    Tasks stand by the fall of their loss, as the mean over trials. Of more than `PANELS` those are
    drawn that lie evenly between the largest and the smallest fall; the others are named.
    """
    curves = {
        arm: [one for trial in arm.trials if (one := trial.task_losses("query")) is not None]
        for arm in arms
    }
    falls: dict[str, list[float]] = {}
    for of_trial in chain.from_iterable(curves.values()):
        drops = of_trial.losses[0] - of_trial.losses[-1]
        for task, fall in zip(of_trial.tasks, drops, strict=True):
            falls.setdefault(task, []).append(fall)
    if not falls:
        return
    tasks = sorted(falls, key=lambda task: -float(np.mean(falls[task])))
    places = np.linspace(0, len(tasks) - 1, min(PANELS, len(tasks))).round().astype(np.int64)
    shown = [tasks[place] for place in places]
    panels = [
        _task_panel(curves, task, left=at % COLUMNS == 0, bottom=at + COLUMNS >= len(shown))
        for at, task in enumerate(shown)
    ]
    count = f"All {len(tasks)}" if len(shown) == len(tasks) else f"{len(shown)} of {len(tasks):,}"
    unit = unit_of(trial for arm in arms for trial in arm.trials)
    heading = f"{count} query {unit}s, by how far their loss fell (mean over trials); axes differ"
    note = _name_note([task for task in tasks if task not in shown])
    save_png(panels, path, columns=COLUMNS, panel_size=(3.5, 2.5), heading=heading, note=note)


def _task_panel(
    curves: dict[Arm, list[TaskCurves]], task: str, *, left: bool, bottom: bool
) -> Panel:
    """A task's loss of every arm; the axes are named at the edges of the grid alone."""
    lines = [
        mean_line(
            arm,
            [
                (of_trial.steps, of_trial.losses[:, of_trial.tasks.index(task)])
                for of_trial in of_arm
                if task in of_trial.tasks
            ],
            sampled=arm.sampled_steps("query"),
        )
        for arm, of_arm in curves.items()
    ]
    title = short_text(task, TITLE_CHARS)
    return panel_of(task, title, STEP if bottom else "", "Query loss" if left else "", lines)


def _name_note(tasks: list[str]) -> str:
    named = f"Not drawn: {', '.join(tasks)}" if tasks else ""
    return "\n".join(textwrap.wrap(named, LINE_CHARS, max_lines=NAME_LINES, placeholder=" …"))
