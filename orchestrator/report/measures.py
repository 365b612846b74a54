"""How near the training data has come to the query set, and whether the loss goes with it.

Claim 3 of arXiv 2406.11721: of the nine measures (`core.measures`) those of the nearest pair
follow the drops of the loss. The panels show the measures along each trial; the table relates
them to the loss over test tasks. Neither shows a cause.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import spearmanr

from orchestrator.core.analysis import Floats
from orchestrator.core.comparison import FEWEST_TASKS
from orchestrator.core.measures import MEASURES
from orchestrator.report.arms import Arm
from orchestrator.report.figures import STEP, Panel, mean_line, panel_of
from orchestrator.report.read import Trial
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, signed

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
    title, unit = _words(measure)
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


def _words(measure: str) -> tuple[str, str]:
    """Title and unit of a measure."""
    if measure == "bigram_kl":
        return "Bigram KL divergence (bigram_kl)", "Nats"
    space, statistic = measure.split("_")
    return f"{STATISTICS[statistic]} ({measure})", SPACES[space]


def correlation_table(trials: list[Trial]) -> Table | None:
    """Spearman's rank correlation over test tasks of each measure with the drop of the loss.

    Both are taken at the last step with a loss; the drop is counted from the untouched model, so
    that tasks which are easy from the start do not count as learnt. Trials with fewer than
    `FEWEST_TASKS` tasks have no row; None if no trial has one.
    """
    table = Table(["trial", "step", "tasks", "by chance", *ORDER])
    for trial in trials:
        step, drops, measures = _drops_and_measures(trial)
        if len(drops) < FEWEST_TASKS:
            continue
        # The normal approximation of the 95% range of rho between unrelated rankings.
        chance = 1.96 / (len(drops) - 1) ** 0.5
        table.rows.append(
            [
                Cell(trial.label),
                Cell(str(step), "number"),
                Cell(str(len(drops)), "number"),
                Cell(f"±{chance:.3f}", "number"),
                *(Cell(_correlation(column, drops), "number") for column in measures.T),
            ]
        )
    return table if table.rows else None


def _drops_and_measures(trial: Trial) -> tuple[int, Floats, Floats]:
    """The last step with a loss; for each task (T,) the drop until then and the measures (T, 9).

    No task where the trial has no losses or no measures.
    """
    curves = trial.task_losses("query")
    if curves is None or "measures" not in trial.tables:
        return 0, np.empty(0), np.empty((0, len(ORDER)))
    drops = dict(zip(curves.tasks, curves.losses[0] - curves.losses[-1], strict=True))
    step = int(curves.steps[-1])
    table = trial.tables["measures"]
    known = pc.is_in(table["task"], value_set=pa.array(drops, pa.string()))
    table = table.filter(pc.and_(pc.equal(table["step"], step), known))
    measures = np.column_stack([table[name].to_numpy() for name in ORDER])
    return step, np.array([drops[task] for task in table["task"].to_pylist()]), measures


def _correlation(measure: Floats, drops: Floats) -> str:
    """Spearman's rho; nothing where a measure is missing or the same for every task."""
    if np.isnan(measure).any() or np.ptp(measure) == 0 or np.ptp(drops) == 0:
        return MISSING
    return signed(float(spearmanr(measure, drops).statistic))
