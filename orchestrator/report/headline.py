"""What is said of a study outside its page: how the page begins, and its best arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import Arm, group_arms
from orchestrator.report.claim import implied_claim
from orchestrator.report.read import read_study


@dataclass(frozen=True)
class Headline:
    """The answer of a study in short.

    Attributes:
        sentence: the first of the report, which names the best arm.
        warning: what is told loudly of the arms; empty where nothing is.
        claim: the answer to what the study claims; empty where the first sentence is it.
        best: the best arm, with its trials of the seeds that all arms finished; None without any.
    """

    sentence: str
    warning: str
    claim: str
    best: Arm | None

    @property
    def text(self) -> str:
        """All of it in one paragraph."""
        return " ".join(filter(None, [self.sentence, self.warning, self.claim]))


def headline(study_dir: Path) -> Headline:
    """The answer of a study that ran, read back from its folder.

    Raises:
        DataError: as `build_report`.
    """
    record = read_study(study_dir)
    arms = group_arms(record.trials)
    answer = answer_of(record.claim or implied_claim(record.trials), arms)
    claim = answer.sentence if answer.sentence != answer.headline else ""
    winner = answer.winner
    if winner is None:
        return Headline(answer.headline, "", claim, None)
    return Headline(answer.headline, winner.warning, claim, winner.decisive.first)
