"""The section on forecasts: sentences and tables, from what `forecasts` found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.statistics.scores import Score, Standing, right_of, standing
from orchestrator.errors import DataError
from orchestrator.report.figures import SETS
from orchestrator.report.forecasts import Foretold, PairOutcome, read_forecasts
from orchestrator.report.tables import (
    MISSING,
    Cell,
    Table,
    count_cell,
    gap_cell,
    interval_cell,
    loss_cell,
    number,
    short_hash,
)
from orchestrator.report.trial import Trial
from orchestrator.storage.ledger import Line, read_ledger, scores_of
from orchestrator.storage.sealed import SEAL


@dataclass(frozen=True)
class ForecastPart:
    """One forecaster's part of the section.

    Attributes:
        foretold: the forecast.
        made: when and under which digest, in a sentence.
        sentences: why it is not scored, and what the ledger says of it.
        scores: a row a test set; None where it is not scored.
        arms: what each arm was expected to end at, and ended at.
        pairs: each pair of arms.
    """

    foretold: Foretold
    made: str
    sentences: list[str]
    scores: Table | None
    arms: Table
    pairs: Table


@dataclass(frozen=True)
class ForecastSection:
    """All forecasts of a study, and a sentence on each that was refused."""

    parts: list[ForecastPart]
    faults: list[str]


def forecast_section(study_dir: Path, trials: list[Trial]) -> ForecastSection:
    """The section of a study folder; without parts and faults where nothing was forecast."""
    return section_of(*read_forecasts(study_dir, trials), study_dir.parent)


def section_of(foretold: list[Foretold], faults: list[str], output: Path) -> ForecastSection:
    """The section on forecasts that were read, beside the ledger of the output folder."""
    ledger: list[Line] = []
    if foretold:
        try:
            ledger = read_ledger(output)
        except DataError as error:
            faults = [*faults, f"The ledger is not shown: {error}."]
    return ForecastSection([_part(one, ledger) for one in foretold], faults)


def standing_sentences(forecaster: str, ledger: list[Line]) -> list[str]:
    """What the ledger says of a forecaster, a sentence for each test set that it was scored on."""
    sentences = []
    for key, title in SETS.items():
        if scores := scores_of(ledger, forecaster, key):
            sentences.append(_standing_sentence(forecaster, title.lower(), standing(scores)))
    return sentences


def _standing_sentence(forecaster: str, where: str, total: Standing) -> str:
    studies = "1 study" if total.studies == 1 else f"{total.studies} studies"
    if not total.pairs:
        return (
            f"{forecaster}, {where}: no pair of {studies} was ranked, {total.undecided} were left "
            "open at one half."
        )
    if total.low > 0.5:
        verdict = "the interval excludes 50%, it ranks better than a coin"
    elif total.high < 0.5:
        verdict = "the interval excludes 50%, it ranks worse than a coin"
    else:
        verdict = "the interval includes 50%, so that it may rank no better than a coin"
    return (
        f"{forecaster}, {where}: right in {total.right} of {total.pairs} pairs of {studies}, 95% "
        f"interval {total.low:.0%} to {total.high:.0%}: {verdict}. Of pairs whose gap was clear "
        f"it was right in {total.clear_right} of {total.clear}."
    )


def _part(foretold: Foretold, ledger: list[Line]) -> ForecastPart:
    record, scores = foretold.record, foretold.scores
    waiting = [f"Not scored yet: {foretold.waiting}."] if foretold.waiting else []
    order = "" if record["sized"] else " It is of the order of the arms alone, not of their losses."
    return ForecastPart(
        foretold,
        f"Made {record['made']}, before the first step; SHA-256 {short_hash(record[SEAL])}.{order}",
        [*waiting, *standing_sentences(foretold.name, ledger)],
        score_table(scores) if scores else None,
        arm_table(foretold),
        pair_table(foretold.pairs),
    )


def score_table(scores: dict[str, Score]) -> Table:
    """How right a forecast was on each test set."""
    table = Table(
        [
            "test set", "pairs right", "of clear ones", "left open", "Brier score",
            "in the interval", "error", "error of gaps", "naive guess",
        ]
    )  # fmt: skip
    for key, score in scores.items():
        covered = f"{score.covered} of {score.cells}" if score.cells else MISSING
        table.rows.append(
            [
                Cell(SETS[key]),
                *(
                    Cell(f"{right_of(pairs)} of {len(pairs)}", "number")
                    for pairs in (score.ranked, score.clear)
                ),
                count_cell(score.undecided),
                loss_cell(score.brier),
                Cell(covered, "number"),
                *map(loss_cell, (score.error, score.gap_error, score.naive_error)),
            ]
        )
    return table


def arm_table(foretold: Foretold) -> Table:
    """What each arm was expected to end at, and ended at, on each test set, the best first."""
    table = Table(
        [
            "test set", "arm", "ahead of the next", "expected at the end", "95% interval",
            "measured",
        ]
    )  # fmt: skip
    for key in foretold.pairs:
        section = foretold.record["sets"][key]
        curves: dict[str, Any] = section["curves"]
        order = sorted(curves, key=lambda name: curves[name]["losses"][-1])
        for arm, following in zip(order, [*order[1:], None], strict=True):
            curve, measured = curves[arm], foretold.measured[key].get(arm)
            limits = (
                f"{number(curve['low'][-1])} to {number(curve['high'][-1])}"
                if "low" in curve
                else MISSING
            )
            came = None if measured is None else float(measured.losses[-1].mean())
            expected = curve["losses"][-1] if "low" in curve else None
            ahead = _probability(section["pairs"], arm, following)
            cells = [
                Cell(MISSING if ahead is None else f"{ahead:.0%}", "number"),
                loss_cell(expected), Cell(limits, "number"), loss_cell(came),
            ]  # fmt: skip
            table.rows.append([Cell(SETS[key]), Cell(arm), *cells])
    return table


def _probability(pairs: list[dict[str, Any]], a: str, b: str | None) -> float | None:
    """That arm a ends ahead of arm b; None where the pair was not forecast."""
    for pair in pairs:
        if (pair["a"], pair["b"]) == (a, b):
            return float(pair["probability"])
        if (pair["a"], pair["b"]) == (b, a):
            return 1 - float(pair["probability"])
    return None


def pair_table(pairs: dict[str, list[PairOutcome]]) -> Table:
    """Each pair of arms: how probable it was that the first ends ahead, and how they ended."""
    table = Table(
        ["test set", "arm", "against", "probably ahead", "difference", "95% interval", "right"]
    )
    for key, outcomes in pairs.items():
        for pair in outcomes:
            gap = pair.measured
            right = ("yes" if pair.right else "no") if pair.ranked else MISSING
            table.rows.append(
                [
                    Cell(SETS[key]),
                    Cell(pair.a),
                    Cell(pair.b),
                    Cell(f"{pair.probability:.0%}", "number"),
                    gap_cell(gap.difference if gap else None),
                    interval_cell(gap) if gap else Cell(MISSING, "number"),
                    Cell(f"{right}, not clear" if pair.ranked and not pair.clear else right),
                ]
            )
    return table


def forecast_sentences(section: ForecastSection) -> list[str]:
    """What is to be said of the forecasts of a study that ended, without tables."""
    return [*section.faults, *(text for part in section.parts for text in part.sentences)]
