"""Does similarity predict loss? The section on claim 8 (`core.prediction`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.core.analysis import Floats, Steps, TaskCurves
from orchestrator.core.comparison import FEWEST_TASKS
from orchestrator.core.prediction import (
    Forecast,
    fit_monotone,
    predict_arm,
    predict_tasks,
    rank_correlations,
)
from orchestrator.report.arms import Arm, mean_curves, query_curves, stack
from orchestrator.report.figures import STEP, Line, Panel
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, interval, number, signed

MEASURE = "cosine_min"  # the distance that the paper finds to follow the loss
SHOWN_STEPS = 6  # columns of the table of rank correlations at most
FIT_POINTS = 60
DROP = "Drop of the loss since step 0"


@dataclass(frozen=True)
class Prediction:
    """What the section shows.

    Attributes:
        tasks: number of query tasks used.
        ranks, forecasts: rank correlations by arm; errors of what was left out.
        panels: the fits, and the curves foretold for arms left out.
    """

    tasks: int
    ranks: Table
    forecasts: Table
    panels: list[Panel]


def predict(arms: list[Arm]) -> Prediction | None:
    """The section; None without `FEWEST_TASKS` tasks that have losses and measures in some arm.

    Steps and tasks are those that all arms with both have in common.
    """
    found = [(arm, *both) for arm in arms if arm.finished and (both := _curves(arm)) is not None]
    arms = [arm for arm, _, _ in found]
    stacked = stack([curves for _, *both in found for curves in both])
    if stacked is None or len(stacked[1]) < FEWEST_TASKS:
        return None
    steps, tasks, cells = stacked
    distances, drops = cells[::2], cells[1::2]
    forecasts = {"a fifth of the tasks at a time": predict_tasks(distances, drops)}
    panels = [_fit_panel(arms, distances, drops)]
    if len(arms) > 1:
        curves = [predict_arm(distances, drops, index) for index in range(len(arms))]
        forecasts |= {arm.name: forecast for arm, (_, forecast) in zip(arms, curves, strict=True)}
        panels.append(_arm_panel(arms, steps, drops, [predicted for predicted, _ in curves]))
    ranks = _rank_table(arms, steps, distances, drops)
    return Prediction(len(tasks), ranks, _forecast_table(forecasts), panels)


def _curves(arm: Arm) -> tuple[TaskCurves, TaskCurves] | None:
    """Distances and drops of the loss, as means over seeds."""
    distances = mean_curves([trial.task_measure(MEASURE) for trial in arm.trials])
    losses = query_curves(arm)
    if distances is None or losses is None:
        return None
    return distances, losses._replace(losses=losses.losses[0] - losses.losses)


def _rank_table(arms: list[Arm], steps: Steps, distances: Floats, drops: Floats) -> Table:
    shown = np.unique(np.linspace(0, len(steps) - 1, SHOWN_STEPS).round().astype(int))
    table = Table(["arm", "all steps", *(f"step {step:,}" for step in steps[shown])])
    for arm, near, fell in zip(arms, distances, drops, strict=True):
        by_step, pooled = rank_correlations(near, fell)
        values = [pooled, *by_step[shown].tolist()]
        cells = [MISSING if np.isnan(value) else signed(value) for value in values]
        table.rows.append([Cell(arm.name), *(Cell(text, "number") for text in cells)])
    return table


def _forecast_table(forecasts: dict[str, Forecast]) -> Table:
    table = Table(
        ["left out", "by distance", "naive guess", "difference", "95% interval", "distance"]
    )
    words = {"ahead": "better", "behind": "worse", "no clear difference": "no clear difference"}
    for name, forecast in forecasts.items():
        table.rows.append(
            [
                Cell(name),
                Cell(number(forecast.error), "number"),
                Cell(number(forecast.naive_error), "number"),
                Cell(signed(forecast.comparison.difference), "number"),
                Cell(interval(forecast.comparison), "number"),
                Cell(words[forecast.comparison.verdict]),
            ]
        )
    return table


def _fit_panel(arms: list[Arm], distances: Floats, drops: Floats) -> Panel:
    """The monotone fit of each arm, over the distances that it reached."""
    lines = []
    for arm, near, fell in zip(arms, distances, drops, strict=True):
        x = np.unique(np.quantile(near, np.linspace(0, 1, FIT_POINTS)))
        lines.append(Line(arm, x, fit_monotone(near, fell).predict(x)))
    label = f"Negative cosine to the nearest row ({MEASURE})"
    return Panel("prediction-fit", "Drop of the loss by distance, fitted", label, DROP, lines)


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
