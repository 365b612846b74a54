"""How near the training data has come to the query set, and whether the loss goes with it.

Claim 3 of arXiv 2406.11721: of the nine measures (`core.measures`) those of the nearest pair
follow the drops of the loss. The panels show the measures along each trial; the table relates
them to the loss over test tasks. Neither shows a cause.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from orchestrator.core.measures import MEASURES
from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.core.statistics.prediction import rank_correlation
from orchestrator.report.arms import Arm, mean_curves, query_curves, stack
from orchestrator.report.figures import STEP, Panel, mean_line, panel_of
from orchestrator.report.tables import Cell, Table, gap_cell, number

# What the claim is about and what it is set against; the others are drawn on demand. (On unit
# vectors the Euclidean minimum is the cosine's by another scale.)
SHOWN = ("cosine_min", "cosine_avg")
ORDER = (*SHOWN, *(name for name in MEASURES if name not in SHOWN))
SPACES = {"cosine": "Negative cosine", "euclidean": "Euclidean distance"}
STATISTICS = {
    "avg": "Mean of all pairs",
    "min": "Nearest pair",
    "max": "Farthest pair",
    "centroid": "Between the means",
}


def measure_panels(arms: list[Arm]) -> list[Panel]:
    """Each measure over the optimizer steps, as the mean over test tasks; `SHOWN` come first.

    Against the whole query set the nearest pair is one pair, found early and never bettered: the
    mean over tasks tells when each of them has been reached.
    """
    panels = [_measure_panel(arms, name) for name in ORDER]
    return [panel for panel in panels if panel.lines]


def _measure_panel(arms: list[Arm], measure: str) -> Panel:
    title, unit = _panel_words(measure)
    lines = []
    for arm in arms:
        tasks = [trial.task_measure(measure) for trial in arm.trials]
        means = [
            (curves.steps, np.nanmean(curves.losses, axis=1))
            for curves in tasks
            if curves is not None
        ]
        lines.append(mean_line(arm, means))
    return panel_of(f"measure-{measure}", title, STEP, unit, lines)


def _panel_words(measure: str) -> tuple[str, str]:
    """Title and unit of a measure."""
    if measure == "bigram_kl":
        return "Bigram KL divergence (bigram_kl)", "Nats"
    space, statistic = measure.split("_")
    return f"{STATISTICS[statistic]} ({measure})", SPACES[space]


def measure_curves(arm: Arm, measure: str) -> TaskCurves | None:
    """A measure of each query task as the mean over seeds; None without any."""
    return mean_curves([trial.task_measure(measure) for trial in arm.trials])


def drop_curves(arm: Arm) -> TaskCurves | None:
    """Drop of each query task's loss since step 0, as the mean over seeds; None without any.

    Counted from the untouched model, so that tasks which are easy from the start do not count as
    learnt.
    """
    curves = query_curves(arm)
    return curves and curves._replace(losses=curves.losses[0] - curves.losses)


@dataclass(frozen=True)
class Correlation:
    """How an arm's measures rank its test tasks, against the drops of their losses.

    Attributes:
        arm: its name.
        tasks: how many were ranked.
        rho: measure -> Spearman's rank correlation with the drop, in the order of `ORDER`; without
            the measures that have none.
    """

    arm: str
    tasks: int
    rho: dict[str, float]

    @property
    def by_chance(self) -> float:
        """The normal approximation of the 95% range of |rho| between unrelated rankings."""
        return float(1.96 / (self.tasks - 1) ** 0.5)

    def interval(self, measure: str) -> tuple[float, float]:
        """Fisher's 95% interval of rho, with the variance of ranks, 1.06 / (tasks - 3).

        By Fieller, Hartley and Pearson 1957; the tasks are what is independent.
        """
        spread = norm.ppf(0.975) * (1.06 / (self.tasks - 3)) ** 0.5
        middle = np.arctanh(np.clip(self.rho[measure], -0.999, 0.999))
        return float(np.tanh(middle - spread)), float(np.tanh(middle + spread))


def correlations(arms: list[Arm]) -> list[Correlation]:
    """The correlations of each finished arm with `FEWEST_TASKS` tasks or more that have both."""
    rows = []
    for arm in arms:
        drops = drop_curves(arm) if arm.finished else None
        if drops is None:
            continue
        by_measure = {name: _correlation(measure_curves(arm, name), drops) for name in ORDER}
        tasks = max(count for count, _ in by_measure.values())
        if tasks < FEWEST_TASKS:
            continue
        rho = {name: rho for name, (_, rho) in by_measure.items() if not np.isnan(rho)}
        rows.append(Correlation(arm.name, tasks, rho))
    return rows


def _correlation(measure: TaskCurves | None, drops: TaskCurves) -> tuple[int, float]:
    """Tasks that have both, and rho; NaN where it is the same for every task or there is none."""
    stacked = stack([measure, drops]) if measure is not None else None
    if stacked is None:
        return 0, np.nan
    _, tasks, (near, fell) = stacked
    return len(tasks), rank_correlation(near, fell)


def correlation_table(rows: list[Correlation]) -> Table | None:
    """Spearman's rank correlation over test tasks of each measure with the drop of the loss.

    None where no arm has any.
    """
    table = Table(["arm", "tasks", "by chance", *ORDER])
    for row in rows:
        table.rows.append(
            [
                Cell(row.arm),
                Cell(str(row.tasks), "number"),
                Cell(f"±{number(row.by_chance)}", "number"),
                *(gap_cell(row.rho.get(name)) for name in ORDER),
            ]
        )
    return table if table.rows else None
