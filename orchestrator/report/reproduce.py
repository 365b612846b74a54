"""A study set against the figures of the paper: is the order of the arms the same, and the losses?

The figures stand in the study's claim, each with a test set, an optimizer step and a band for the
loss of each arm. Bands are those of one model on one data set at one step: a study that never
evaluated that step (a laptop's, say) is judged by the order of its arms at its own last step alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from orchestrator.config.claim import Claim, Figure
from orchestrator.core.analysis import set_curve
from orchestrator.errors import DataError
from orchestrator.report.arms import Arm, group_arms
from orchestrator.report.read import read_study
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, number


@dataclass(frozen=True)
class FigureCheck:
    """What a study says about one figure of the paper.

    Attributes:
        name: of the figure.
        ordering: whether the arms' mean losses stand in the expected order; None where an arm
            has no loss.
        expected, found: the arms, lowest loss first; found has only those with a loss.
        ends: arm -> (loss, low, high, whether the loss lies inside); empty where the step of the
            figure was not evaluated.
        sentence: the same in words.
    """

    name: str
    ordering: bool | None
    expected: list[str]
    found: list[str]
    ends: dict[str, tuple[float, float, float, bool]]
    sentence: str


def check_figures(study_dir: Path) -> list[FigureCheck]:
    """Compare a study that ran with the figures of its claim.

    Args:
        study_dir: `<output>/<study>`.

    Raises:
        DataError: the folder is no study's, or its study.yaml names no figure.
    """
    record = read_study(study_dir)
    if record.claim is None or not record.claim.figures:
        raise DataError(
            f"{study_dir / 'study.yaml'} names no figure of the paper: give `claim` with `figures`"
        )
    return claim_checks(record.claim, group_arms(record.trials))


def claim_checks(claim: Claim, arms: list[Arm]) -> list[FigureCheck]:
    """A check for each figure of the claim."""
    finished = {arm.name: arm for arm in arms if arm.finished}
    return [_check(figure, claim.arms, finished) for figure in claim.figures]


def _check(figure: Figure, expected: list[str], arms: dict[str, Arm]) -> FigureCheck:
    names = [name for name in dict.fromkeys([*expected, *figure.bands]) if name in arms]
    curves = {name: _mean_curve(arms[name], figure.set) for name in names}
    curves = {name: curve for name, curve in curves.items() if curve}
    common = reduce(set.intersection, (set(curve) for curve in curves.values())) if curves else ()
    if not common:
        sentence = f"{figure.name}: not answered, no arm has a loss on this set at a common step."
        return FigureCheck(figure.name, None, expected, [], {}, sentence)
    step = figure.step if figure.step in common else max(common)
    losses = {name: curve[step] for name, curve in curves.items()}
    found = sorted((name for name in expected if name in losses), key=losses.__getitem__)
    ordering = found == expected if len(found) == len(expected) else None
    ends = {
        name: (losses[name], low, high, low <= losses[name] <= high)
        for name, (low, high) in figure.bands.items()
        if name in losses and figure.step in (None, step)
    }
    sentence = _sentence(figure, step, ordering, {name: losses[name] for name in found}, ends)
    return FigureCheck(figure.name, ordering, expected, found, ends, sentence)


def _mean_curve(arm: Arm, test_set: str) -> dict[int, float]:
    """Step -> loss of the set, as the mean over the seeds that were all evaluated there."""
    curves = []
    for trial in arm.trials:
        step, _, loss = trial.losses(test_set)
        steps, losses = set_curve(step, loss)
        curves.append(dict(zip(steps.tolist(), losses.tolist(), strict=True)))
    common = set.intersection(*(set(curve) for curve in curves))
    return {step: float(np.mean([curve[step] for curve in curves])) for step in common}


def _sentence(
    figure: Figure,
    step: int,
    ordering: bool | None,
    losses: dict[str, float],
    ends: dict[str, tuple[float, float, float, bool]],
) -> str:
    order = ", ".join(f"{name} {number(loss)}" for name, loss in losses.items())
    state = {
        True: "the arms stand in the expected order",
        False: "the arms do not stand in the expected order",
        None: "the order is open, an arm has no loss",
    }[ordering]
    text = f"{figure.name}: {state} at step {step:,} ({order})"
    if ends:
        inside = sum(end[3] for end in ends.values())
        return f"{text}; {inside} of {len(ends)} losses lie inside their bands."
    if figure.bands:
        return f"{text}; step {figure.step:,} was not evaluated, so no loss is compared."
    return f"{text}."


def check_table(checks: list[FigureCheck]) -> Table:
    """Every arm of every figure: its loss, the paper's band and whether it lies inside."""
    table = Table(["figure", "order", "arm", "loss", "band", "inside"])
    words = {True: "as expected", False: "another", None: "open"}
    for check in checks:
        head = [Cell(check.name, "wrapped"), Cell(words[check.ordering])]
        if not check.ends:
            table.rows.append([*head, *[Cell(MISSING)] * 2, Cell("not compared"), Cell(MISSING)])
        for arm, (loss, low, high, inside) in check.ends.items():
            band = f"{number(low)} to {number(high)}"
            verdict = Cell("yes") if inside else Cell("no", "failed")
            table.rows.append(
                [*head, Cell(arm), Cell(number(loss), "number"), Cell(band, "number"), verdict]
            )
    return table
