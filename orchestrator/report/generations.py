"""Scores of generated answers along each trial, beside which the loss is the stable measure.

Claim 1 of arXiv 2406.11721: zero-shot generalisation shows early and steadily in the loss, while
ROUGE-1, ROUGE-L and exact match jump from one evaluation to the next. Not for setting arms against
each other: a small change of the model can turn an exact match over, so that the arms' gaps are
noise where those of their losses are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.core.text_metrics import score_titles
from orchestrator.report.arms import Arm
from orchestrator.report.figures import (
    SETS,
    STEP,
    Panel,
    mean_line,
    mean_scores,
    panel_of,
    references_of,
)
from orchestrator.report.trial import Trial


def generation_panels(arms: list[Arm], models: Iterable[Trial] = ()) -> list[Panel]:
    """A panel for each metric and test set that any arm was scored by, at the steps of answers.

    Args:
        models: as of `loss_panels`.
    """
    panels = [
        _panel(arms, models, metric, test_set) for test_set in SETS for metric in score_titles()
    ]
    return [panel for panel in panels if panel.lines]


def _panel(arms: list[Arm], models: Iterable[Trial], metric: str, test_set: str) -> Panel:
    name, title = score_titles()[metric], SETS[test_set]
    lines = [
        mean_line(arm, [mean_scores(trial, metric, test_set) for trial in arm.trials])
        for arm in arms
    ]
    heading = f"{name}, {title[0].lower()}{title[1:]}"
    panel = panel_of(f"generations-{metric}-{test_set}", heading, STEP, name, lines)
    points = {model.name: mean_scores(model, metric, test_set)[1] for model in models}
    return replace(panel, references=references_of(points))
