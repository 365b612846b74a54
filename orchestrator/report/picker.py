"""One interactive figure of a single task: its loss and its nearest row, arm by arm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from plotly.subplots import make_subplots

from orchestrator.core.analysis import Floats, Steps, TaskCurves
from orchestrator.report.arms import Arm, mean_curves, query_curves
from orchestrator.report.drawing import lay_out, to_html, trace
from orchestrator.report.figures import STEP

KEY = "task-picker"
MEASURE = "cosine_min"
POINTS = 60  # of a line at most: every task of every arm is in the page
DIGITS = 4


@dataclass(frozen=True)
class Picker:
    """The figure with its first task drawn, and what the page needs to draw another.

    Attributes:
        html: of the figure.
        tasks: names, ascending.
        values: for each task the y of every line of the figure.
    """

    html: str
    tasks: list[str]
    values: list[list[list[float | None]]]


def pick_task(arms: list[Arm]) -> Picker | None:
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
    rows = max(row for row, _, _ in lines)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    series = []
    for row, arm, curves in lines:
        kept = _thinned(curves.steps)
        series.append({task: _rounded(curves, task, kept) for task in tasks})
        figure.add_scatter(**trace(arm, curves.steps[kept], series[-1][tasks[0]]), row=row, col=1)
    lay_out(figure)
    figure.update_xaxes(rangemode="tozero", hoverformat=".0f")
    figure.update_xaxes(title=STEP, row=rows)
    for row, title in enumerate(("Loss", MEASURE)[:rows], start=1):
        figure.update_yaxes(title=title, row=row)
    values = [[by_task[task] for by_task in series] for task in tasks]
    return Picker(to_html(figure, KEY, height=260 * rows), tasks, values)


def _distances(arm: Arm) -> TaskCurves | None:
    return mean_curves([trial.task_measure(MEASURE) for trial in arm.trials])


def _thinned(steps: Steps) -> Steps:
    """Places of evenly spread evaluations, the first and the last among them."""
    count = min(POINTS, len(steps))
    return np.linspace(0, len(steps) - 1, count).round().astype(np.int64)


def _rounded(curves: TaskCurves, task: str, kept: Steps) -> list[float | None]:
    """The values of a task; None in JSON is a gap."""
    if task not in curves.tasks:
        return [None] * len(kept)
    column: Floats = curves.losses[kept, curves.tasks.index(task)]
    return [None if np.isnan(value) else round(float(value), DIGITS) for value in column]
