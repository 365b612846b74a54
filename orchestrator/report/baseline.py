"""Several arms against one of them, the baseline: who is ahead, corrected for their number.

What decides, which arms, and the test set are of the claim, so that they are fixed before the first
trial is trained. Arms are paired with the baseline over seeds and tasks; see
`core.statistics.comparison` for the intervals and for Holm's correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow.compute as pc

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.comparison import Corrected, Verdict
from orchestrator.report.arms import Arm, area, by_results, unit_of
from orchestrator.report.contrast import (
    Contrast,
    compare_with,
    curves_at,
    seed_pairs,
    set_contrasts,
)
from orchestrator.report.figures import SETS, mean_scores
from orchestrator.report.tables import (
    MISSING,
    Cell,
    Table,
    doubt,
    gap_cell,
    interval,
    interval_cell,
    loss_cell,
    p_value,
    p_words,
    signed,
)
from orchestrator.report.trial import Trial

EXACT = "exact_match"


@dataclass(frozen=True)
class Against:
    """An arm set against the baseline.

    Attributes:
        corrected: on the test set that decides, by area, at the steps that all arms share.
        sets: title of a test set -> the two arms compared on it alone, without a correction.
        beside: how many arms were corrected for, this one among them.
        unit: what the set that decides is compared over, "task" or "instance".
    """

    arm: Arm
    corrected: Corrected
    sets: dict[str, Contrast]
    beside: int
    unit: str


def set_against(baseline: Arm, arms: Sequence[Arm], test_set: str) -> list[Against]:
    """Finished arms against the baseline; those left out that share no seed, step or task with it.

    Args:
        test_set: whose losses decide.
    """
    pairs = [pair for arm in arms for pair in seed_pairs(arm, baseline, test_set)]
    if not pairs:
        return []
    steps = reduce(np.intersect1d, [curve.steps for pair in pairs for curve in pair])
    compared = compare_with(baseline, arms, test_set, lambda curves: curves_at(curves, steps))
    unit, family = unit_of(baseline.trials, test_set), len(by_results(compared))
    return [
        Against(arm, corrected, set_contrasts(arm, baseline), family, unit)
        for arm, corrected in compared.items()
    ]


def baseline_sentence(baseline: str, test_set: str, rows: Sequence[Against]) -> str:
    """Which arms were clearly ahead, the farthest ahead first; or that none was."""
    by_area = f"by the area under the {curve_name(test_set)} curve"
    ahead = _of_verdict(rows, "ahead")
    if not ahead:
        nearest = min(rows, key=lambda row: row.corrected.comparison.difference)
        return (
            f"No: {by_area} no arm was clearly ahead of {baseline}; the lowest, "
            f"{_words(nearest, minus=baseline)}."
        )
    first, *others = ahead
    also = f"; so {'was' if len(others) == 1 else 'were'} " if others else ""
    return (
        f"Yes: {by_area} {first.arm.name} was clearly ahead of {baseline}, "
        f"{_words(first, minus=baseline)}{also}{', '.join(_words(row) for row in others)}."
    )


def baseline_details(baseline: str, rows: Sequence[Against]) -> list[str]:
    """The arms that were not ahead, and what was corrected for."""
    states: dict[Verdict, str] = {
        "no clear difference": f"Not clearly apart from {baseline}",
        "behind": f"Clearly behind {baseline}",
    }
    details = []
    for verdict, state in states.items():
        if found := _of_verdict(rows, verdict):
            details.append(f"{state}: {', '.join(_words(row) for row in found)}.")
    return [
        *details,
        f"Intervals and p are corrected for {rows[0].beside} arms (Holm 1979): the chance of any "
        "false word of ahead or behind stays below 5%.",
    ]


def baseline_table(claim: Claim, arms: Sequence[Arm], rows: Sequence[Against]) -> Table | None:
    """A line an arm: what it was fed, its area on the set that decides, and the other sets beside.

    None without any arm that can be compared.
    """
    if not rows:
        return None
    test_set = claim.set
    baseline = next(arm for arm in arms if arm.name == claim.arms[0] and arm.finished)
    others = [
        title for key, title in SETS.items()
        if key != test_set and any(title in row.sets for row in rows)
    ]  # fmt: skip
    scored = [key for key in SETS if _score(baseline, key) is not None]
    table = Table(
        [
            "arm", "rows", "answer tokens", f"{curve_name(test_set)} area", "difference",
            "corrected interval", "p", "ahead on",
            *(part for title in others for part in (f"{title}: difference", "95% interval")),
            *(f"{SETS[key]}: exact match" for key in scored),
        ]
    )  # fmt: skip
    decided = SETS[test_set]
    empty = [Cell(MISSING, "number")]
    for arm, row in [(baseline, None), *((row.arm, row) for row in rows)]:
        compared = empty * (4 + 2 * len(others)) if row is None else _gap_cells(row, others)
        of_sets = rows[0].sets if row is None else row.sets
        curves = of_sets[decided].b if row is None else of_sets[decided].a
        table.rows.append(
            [
                Cell(arm.label),
                _count_cell([trial.rows_fed for trial in arm.trials]),
                _count_cell([_answer_tokens(trial) for trial in arm.trials]),
                loss_cell(area(curves.steps, curves.losses)),
                *compared,
                *(loss_cell(_score(arm, key)) for key in scored),
            ]
        )
    return table


def _gap_cells(row: Against, others: list[str]) -> list[Cell]:
    """The arm minus the baseline: corrected on the set that decides, and not on the others."""
    result = row.corrected.comparison
    cells = [
        gap_cell(result.difference),
        interval_cell(result),
        Cell(p_value(row.corrected.p_holm), "number"),
        Cell(f"{result.tasks_ahead} of {result.tasks}", "number"),
    ]
    for title in others:
        contrast = row.sets.get(title)
        cells.append(gap_cell(contrast.by_area.difference if contrast else None))
        cells.append(interval_cell(contrast.by_area) if contrast else Cell(MISSING, "number"))
    return cells


def curve_name(test_set: str) -> str:
    """A test set as it stands before "curve"."""
    return test_set.replace("_", "-")


def _of_verdict(rows: Sequence[Against], verdict: Verdict) -> list[Against]:
    found = [row for row in rows if row.corrected.comparison.verdict == verdict]
    return sorted(found, key=lambda row: row.corrected.comparison.difference)


def _words(row: Against, minus: str = "") -> str:
    result = row.corrected.comparison
    name = f"{row.arm.name} minus {minus}" if minus else row.arm.name
    why = doubt(result, row.unit)
    return (
        f"{name} {signed(result.difference)} ({interval(result)}, {p_words(row.corrected.p_holm)}"
        f"{f': {why}' if why else ''})"
    )


def _answer_tokens(trial: Trial) -> int | None:
    """Answer tokens that a trial was fed; None where an older one did not count them."""
    log = trial.tables.get("train_log")
    if log is None or "answer_tokens" not in log.column_names:
        return None
    return int(pc.sum(log["answer_tokens"]).as_py())


def _count_cell(counts: list[int | None]) -> Cell:
    """The mean over trials."""
    known = [count for count in counts if count is not None]
    return Cell(f"{np.mean(known):,.0f}" if known else MISSING, "number")


def _score(arm: Arm, test_set: str) -> float | None:
    """Exact match at the last step with answers, the mean over the arm's trials; None without."""
    curves = [mean_scores(trial, EXACT, test_set)[1] for trial in arm.trials]
    ends = [scores[-1] for scores in curves if len(scores)]
    return float(np.mean(ends)) if ends else None
