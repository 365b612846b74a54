"""Does similarity predict loss? The section on claim 8 (`core.statistics.prediction`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import Floats, Steps
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.core.statistics.prediction import (
    FEWEST,
    Forecast,
    fit_monotone,
    from_others,
    predict_arm,
    predict_tasks,
)
from orchestrator.report.arms import Arm, stack
from orchestrator.report.figures import STEP, Line, Panel
from orchestrator.report.measures import drop_curves, measure_curves
from orchestrator.report.tables import Cell, Table, gap_cell, interval_cell, loss_cell

MEASURE = "cosine_min"  # the distance that the paper finds to follow the loss
FIT_POINTS = 60
DROP = "Drop of the loss since step 0"


@dataclass(frozen=True)
class Prediction:
    """How well distance foretells the drop of the loss.

    Attributes:
        tasks: number of query tasks used.
        forecasts: what was left out, in words -> how well it was foretold.
        panels: the fits, and the curves foretold for arms left out.
    """

    tasks: int
    forecasts: dict[str, Forecast]
    panels: list[Panel]


def prediction(arms: list[Arm]) -> Prediction | None:
    """The prediction; None without `FEWEST_TASKS` tasks that have losses and measures in some arm.

    Steps and tasks are those that all arms with both have in common. An arm is foretold from two
    others or more.
    """
    # From one that has results of its own an arm is foretold without fail.
    seen: set[str] = set()
    apart = []
    for arm in arms:
        if arm.finished and seen.isdisjoint(arm.results):
            apart.append(arm)
            seen.update(arm.results)
    curves = [(arm, measure_curves(arm, MEASURE), drop_curves(arm)) for arm in apart]
    known = [
        (arm, near, fell) for arm, near, fell in curves if near is not None and fell is not None
    ]
    arms = [arm for arm, _, _ in known]
    stacked = stack([curves for _, *both in known for curves in both])
    if stacked is None or len(stacked[1]) < FEWEST_TASKS:
        return None
    steps, tasks, cells = stacked
    distances, drops = cells[::2], cells[1::2]
    forecasts = {"a fifth of the tasks at a time": predict_tasks(distances, drops)}
    panels = [_fit_panel(arms, distances, drops)]
    if len(arms) >= FEWEST:
        foretold = [predict_arm(distances, drops, index) for index in range(len(arms))]
        forecasts |= {arm.name: one for arm, (_, one) in zip(arms, foretold, strict=True)}
        panels.append(_arm_panel(arms, steps, drops, [predicted for predicted, _ in foretold]))
    return Prediction(len(tasks), forecasts, panels)


def forecast_table(forecasts: dict[str, Forecast]) -> Table:
    """The errors by distance and of the naive guess, for each thing that was left out."""
    table = Table(
        ["left out", "by distance", "naive guess", "difference", "95% interval", "distance"]
    )
    words = {"ahead": "better", "behind": "worse", "no clear difference": "no clear difference"}
    for name, forecast in forecasts.items():
        table.rows.append(
            [
                Cell(name),
                loss_cell(forecast.error),
                loss_cell(forecast.naive_error),
                gap_cell(forecast.comparison.difference),
                interval_cell(forecast.comparison),
                Cell(words[forecast.comparison.verdict]),
            ]
        )
    return table


def _fit_panel(arms: list[Arm], distances: Floats, drops: Floats) -> Panel:
    """The monotone fit of each arm between its tasks, over the distances that it reached."""
    lines = []
    deviations = from_others(distances, -1), from_others(drops, -1)
    for arm, near, fell in zip(arms, *deviations, strict=True):
        x = np.unique(np.quantile(near, np.linspace(0, 1, FIT_POINTS)))
        lines.append(Line(arm, x, fit_monotone(near, fell).predict(x)))
    title = "Drop of the loss by distance, fitted"
    against = "minus the other tasks’ mean at that step"
    x_label = f"Negative cosine to the nearest row, {against}"
    return Panel("prediction-fit", title, x_label, "Drop, likewise", lines)


def _arm_panel(arms: list[Arm], steps: Steps, drops: Floats, predicted: list[Floats]) -> Panel:
    """Means over tasks: each arm as measured, and as foretold from the others."""
    lines = [
        line
        for arm, fell, foretold in zip(arms, drops, predicted, strict=True)
        for line in (
            Line(arm, steps, fell.mean(axis=1)),
            Line(arm, steps, foretold.mean(axis=1), predicted=True),
        )
    ]
    title = "Arms predicted from the others (dots without markers)"
    return Panel("prediction-arms", title, STEP, DROP, lines)
