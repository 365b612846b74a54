"""A study set against the figures of the paper: is the order of the arms the same, and the losses?

The figures stand in the study's claim, each with a test set, an optimizer step and a band for the
loss of each arm. The order is that of the bands, since a figure may show some arms only and show
them before others part; arms whose bands overlap stand in no order. Figures with fewer than two
bands take the order of the claim's arms.

Bands are those of one model on one data set at one step: a study that never evaluated that step (a
laptop's, say) is judged by the order of its arms at its own last common step alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from orchestrator.config.claim import Claim, Figure
from orchestrator.errors import DataError
from orchestrator.report.arms import Arm, common_seeds, group_arms
from orchestrator.report.read import read_study
from orchestrator.report.sentences import left_out_note
from orchestrator.report.tables import MISSING, Cell, Table, loss_cell, number
from orchestrator.report.trial import Trial


class BandedLoss(NamedTuple):
    """An arm's loss, the limits of the paper's band, and whether the loss lies inside."""

    loss: float
    low: float
    high: float
    inside: bool


@dataclass(frozen=True)
class FigureCheck:
    """What a study says about one figure of the paper.

    Attributes:
        name: of the figure.
        ordering: whether the arms' mean losses stand in the expected order; None where an arm
            has no loss.
        expected, measured: the arms, lowest loss first, of the paper (by the middle of the bands)
            and of the study; measured has only those with a loss.
        ends: arm -> its loss and band; empty where the step of the figure was not evaluated.
        sentence: the same in words.
    """

    name: str
    ordering: bool | None
    expected: list[str]
    measured: list[str]
    ends: dict[str, BandedLoss]
    sentence: str

    @property
    def met(self) -> bool:
        """Whether the arms stand in the paper's order, and each measured loss in its band."""
        return bool(self.ordering) and all(end.inside for end in self.ends.values())


def figure_checks(study_dir: Path) -> list[FigureCheck]:
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
    """A check of each figure of the claim."""
    finished = {arm.name: arm for arm in arms if arm.finished}
    return [_check(figure, claim.arms, finished) for figure in claim.figures]


def _check(figure: Figure, claimed: list[str], arms: dict[str, Arm]) -> FigureCheck:
    """The check of one figure.

    Args:
        claimed: the arms of the claim, the lowest loss first.
        arms: those that finished, by name.
    """
    # The losses at the figure's step, or at the last one that all its arms were evaluated at.
    expected, pairs = _expected_order(figure, claimed)
    names = [name for name in dict.fromkeys([*expected, *figure.bands]) if name in arms]
    curves, left_out = _mean_curves([arms[name] for name in names], figure.set)
    common = reduce(set.intersection, (set(curve) for curve in curves.values())) if curves else ()
    if not common:
        sentence = f"{figure.name}: not answered, its arms have no loss at a common step and seed."
        return FigureCheck(figure.name, None, expected, [], {}, sentence)
    step = figure.step if figure.step in common else max(common)
    losses = {name: curve[step] for name, curve in curves.items()}

    # The order of the losses, and where they lie in their bands.
    measured = sorted((name for name in expected if name in losses), key=losses.__getitem__)
    ordering = None
    if len(measured) == len(expected):
        ordering = all(losses[lower] < losses[higher] for lower, higher in pairs)
    ends = {
        name: BandedLoss(losses[name], low, high, low <= losses[name] <= high)
        for name, (low, high) in figure.bands.items()
        if name in losses and figure.step in (None, step)
    }
    sentence = _sentence(figure, step, ordering, {name: losses[name] for name in measured}, ends)
    sentence = " ".join([sentence, *left_out])
    return FigureCheck(figure.name, ordering, expected, measured, ends, sentence)


def _expected_order(figure: Figure, claimed: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The arms, lowest loss first, and the pairs (lower, higher) that must stand in this order."""
    bands = figure.bands
    if len(bands) < 2:
        return claimed, list(pairwise(claimed))
    expected = sorted(bands, key=lambda arm: sum(bands[arm]))
    pairs = [(a, b) for a, b in combinations(expected, 2) if bands[a][1] <= bands[b][0]]
    return expected, pairs


def _mean_curves(arms: list[Arm], test_set: str) -> tuple[dict[str, dict[int, float]], list[str]]:
    """Arm -> step -> loss of the set, as the mean over the seeds that all arms finished.

    Only arms with a loss, at the steps at which all their seeds were evaluated; and a sentence on
    the trials left out, if any.
    """
    curves: dict[Arm, dict[Trial, dict[int, float]]] = {}
    for arm in arms:
        for trial in arm.trials:
            steps, losses = trial.mean_losses(test_set)
            if len(steps):
                curve = dict(zip(steps.tolist(), losses.tolist(), strict=True))
                curves.setdefault(arm, {})[trial] = curve
    kept, left_out = common_seeds(curves)
    means = {}
    for arm, by_trial in kept.items():
        seeds = by_trial.values()
        common = set.intersection(*(set(curve) for curve in seeds))
        means[arm.name] = {step: float(np.mean([c[step] for c in seeds])) for step in common}
    return means, left_out_note(left_out)


def _sentence(
    figure: Figure,
    step: int,
    ordering: bool | None,
    losses: dict[str, float],
    ends: dict[str, BandedLoss],
) -> str:
    """The check in words; `losses` are those of the arms that stand in an order, lowest first."""
    order = ", ".join(f"{name} {number(loss)}" for name, loss in losses.items())
    state = {
        True: "the arms stand in the expected order",
        False: "the arms do not stand in the expected order",
        None: "the order is open, an arm has no loss",
    }[ordering]
    text = f"{figure.name}: {state} at step {step:,} ({order})"
    if ends:
        inside = sum(end.inside for end in ends.values())
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
            band = Cell(f"{number(low)} to {number(high)}", "number")
            verdict = Cell("yes") if inside else Cell("no", "failed")
            table.rows.append([*head, Cell(arm), loss_cell(loss), band, verdict])
    return table
