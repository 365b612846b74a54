"""Scores of generated answers along each trial, beside which the loss is the stable measure.

Claim 1 of arXiv 2406.11721: zero-shot generalisation shows early and steadily in the loss, while
ROUGE-1, ROUGE-L and exact match jump from one evaluation to the next. Not for setting arms against
each other: a small change of the model can turn an exact match over, so that the arms' gaps are
noise where those of their losses are not.
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from orchestrator.core.statistics.analysis import Floats, Steps, set_curve
from orchestrator.core.text_metrics import score_titles
from orchestrator.report.arms import Arm
from orchestrator.report.figures import SETS, STEP, Panel, mean_line, panel_of
from orchestrator.report.trial import Trial


def generation_panels(arms: list[Arm]) -> list[Panel]:
    """A panel for each metric and test set that any arm was scored by, at the steps of answers."""
    panels = [
        panel_of(
            f"generations-{metric}-{test_set}",
            f"{name}, {title[0].lower()}{title[1:]}",
            STEP,
            name,
            [
                mean_line(arm, [_scores(trial, metric, test_set) for trial in arm.trials])
                for arm in arms
            ],
        )
        for test_set, title in SETS.items()
        for metric, name in score_titles().items()
    ]
    return [panel for panel in panels if panel.lines]


def _scores(trial: Trial, metric: str, test_set: str) -> tuple[Steps, Floats]:
    """Steps with scored answers of a test set (S,), and the mean score of its instances (S,)."""
    table = trial.tables.get("generations")
    if table is None:
        return np.array([], np.int64), np.array([])
    table = table.filter(pc.equal(table["set"], test_set))
    step, score = (table[column].to_numpy() for column in ("step", metric))
    return set_curve(step.astype(np.int64), score.astype(np.float64))
