"""What is said of a study outside its page: the page's first sentence, and its best arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import Arm, common_basis, group_arms
from orchestrator.report.claim import implied_claim
from orchestrator.report.read import read_study


@dataclass(frozen=True)
class Headline:
    """The answer of a study in short.

    Attributes:
        sentence: the first of the report.
        best: the arm with the lowest area under its query curve, with its trials of the seeds
            that all arms finished; None where no arm has one.
    """

    sentence: str
    best: Arm | None


def headline(study_dir: Path) -> Headline:
    """The answer of a study that ran, read back from its folder.

    Raises:
        DataError: as `build_report`.
    """
    record = read_study(study_dir)
    arms = group_arms(record.trials)
    answer = answer_of(record.claim or implied_claim(record.trials), arms)
    basis = common_basis(arms)
    best = min(basis.arms, key=lambda arm: basis.areas[arm.name]) if basis else None
    return Headline(answer.sentence, best)
