"""How early each arm generalises, and what training did to each test set.

Claim 1 of arXiv 2406.11721: zero-shot generalisation happens very early in instruction tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import (
    Floats,
    Steps,
    elbow,
    set_curve,
    steps_to_fraction,
    worst_rise,
)
from orchestrator.core.statistics.comparison import (
    Comparison,
    Verdict,
    compare_arms,
    compare_with_start,
)
from orchestrator.report.arms import Arm, stack, unit_of
from orchestrator.report.figures import SETS
from orchestrator.report.tables import (
    MISSING,
    Cell,
    Table,
    count_cell,
    doubt,
    gap_cell,
    interval_cell,
    loss_cell,
    signed,
)

EARLY = 0.1  # of training
CHANGES: dict[Verdict, str] = {
    "ahead": "fell",
    "behind": "rose",
}


@dataclass(frozen=True)
class EarlyDrop:
    """What an arm's query loss had dropped by at the first evaluation from `EARLY` on.

    Attributes:
        fall: the last loss against the first; "ahead" where it clearly fell. Without a drop no part
            of it was made early, and the shares say nothing.
        step, last: of that evaluation, and of the last one.
        share, low, high: part of the drop, with its 95% interval.
        step_to_90: first evaluated step with 90% of the drop; None where the loss never fell.
        past_half: the loss there against the midpoint of those at step 0 and at the end; "ahead"
            where more than half of the drop was clearly made.
    """

    arm: Arm
    fall: Comparison
    step: int
    last: int
    share: float
    low: float
    high: float
    step_to_90: int | None
    past_half: Comparison

    @property
    def fell(self) -> bool:
        """Whether the loss clearly fell in all of training."""
        return self.fall.verdict == "ahead"


def early_drops(arms: list[Arm]) -> list[EarlyDrop]:
    """The early drop of each arm that was evaluated between step 0 and the end.

    The interval is that of the loss against the midpoint, in parts of the mean drop.
    """
    drops = []
    for arm in arms:
        stacked = _set_losses(arm, "query")
        if stacked is None or len(stacked[0]) < 3:
            continue
        steps, losses = stacked
        at = int(np.searchsorted(steps, EARLY * steps[-1]))
        half = (losses[:, :1] + losses[:, -1:]) / 2
        past_half = compare_arms(np.zeros(1, np.int64), losses[:, at : at + 1], half)[1]
        mean = losses.mean(axis=(0, 2))
        gaps = np.array([past_half.difference, past_half.high, past_half.low])
        with np.errstate(divide="ignore", invalid="ignore"):  # a loss that did not fall
            share, low, high = (0.5 - gaps / (mean[0] - mean[-1])).tolist()
        drops.append(
            EarlyDrop(
                arm,
                compare_with_start(losses),
                int(steps[at]),
                int(steps[-1]),
                share,
                low,
                high,
                steps_to_fraction(steps, mean),
                past_half,
            )
        )
    return drops


def _set_losses(arm: Arm, test_set: str) -> tuple[Steps, Floats] | None:
    """Steps (S,) and losses (K, S, T) of the arm's K trials; None where nothing is common."""
    curves = [trial.task_losses(test_set) for trial in arm.trials]
    stacked = stack([curve for curve in curves if curve is not None])
    return None if stacked is None else (stacked[0], stacked[2])


@dataclass(frozen=True)
class Descent:
    """How an arm's query loss fell, each seed by its own curve.

    Attributes:
        elbows: step of the elbow, of each seed that has one.
        shares: part of the total drop made by that step, likewise.
        steps_to_90: first evaluated step with 90% of the total drop, of each seed that fell.
        last: the lowest of the seeds' last steps.
        drop: from step 0 to the lowest loss in nats, as the mean over seeds.
    """

    arm: Arm
    elbows: list[int]
    shares: list[float]
    steps_to_90: list[int]
    last: int
    drop: float


def descents(arms: list[Arm]) -> list[Descent]:
    """The descent of each arm that was evaluated more than once."""
    rows = []
    for arm in arms:
        losses = [trial.losses("query") for trial in arm.trials]
        curves = [set_curve(step, loss) for step, _, loss in losses]
        curves = [(steps, losses) for steps, losses in curves if len(steps) > 1]
        if not curves:
            continue
        elbows = [step for curve in curves if (step := elbow(*curve)) is not None]
        shares = [part for curve in curves if (part := _share_by_elbow(*curve)) is not None]
        to_90 = [step for curve in curves if (step := steps_to_fraction(*curve)) is not None]
        last = min(int(steps[-1]) for steps, _ in curves)
        drop = sum(float(losses[0] - losses.min()) for _, losses in curves) / len(curves)
        rows.append(Descent(arm, elbows, shares, to_90, last, drop))
    return rows


def _share_by_elbow(steps: Steps, losses: Floats) -> float | None:
    """Part of the total drop that a curve has made at its elbow."""
    step = elbow(steps, losses)
    total = losses[0] - losses.min()
    if step is None or total <= 0:
        return None
    return float((losses[0] - losses[steps == step][0]) / total)


def early_table(rows: list[Descent]) -> Table | None:
    """Elbow and steps to 90% of the drop of each arm's query curve; None without any curve.

    Each is the mean over seeds of the step of each seed, with the range in brackets.
    """
    table = Table(["arm", "elbow", "drop by the elbow", "steps to 90%", "last step", "total drop"])
    for row in rows:
        share = f"{sum(row.shares) / len(row.shares):.0%}" if row.shares else MISSING
        table.rows.append(
            [
                Cell(row.arm.label),
                Cell(_mean_step(row.elbows), "number"),
                Cell(share, "number"),
                Cell(_mean_step(row.steps_to_90), "number"),
                count_cell(row.last),
                loss_cell(row.drop),
            ]
        )
    return table if table.rows else None


def _mean_step(steps: list[int]) -> str:
    if not steps:
        return MISSING
    mean = f"{sum(steps) / len(steps):,.0f}"
    return mean if min(steps) == max(steps) else f"{mean} ({min(steps):,}–{max(steps):,})"


@dataclass(frozen=True)
class SetChange:
    """What training did to an arm's loss of a test set, as means over tasks and seeds in nats.

    Attributes:
        title: of the set.
        start, end: the losses at step 0 and at the last step.
        change: the end against the start; "ahead" where the loss fell.
        unit: what the set is compared over, "task" or "instance".
        worst_step, worst_rise: where the loss stood highest above that at step 0, and by how much;
            0 where it never rose above it.
    """

    arm: Arm
    title: str
    start: float
    end: float
    change: Comparison
    unit: str
    worst_step: int
    worst_rise: float


def set_changes(arms: list[Arm]) -> list[SetChange]:
    """The change of each arm and test set that it was measured on."""
    changes = []
    for arm in arms:
        for key, title in SETS.items():
            stacked = _set_losses(arm, key)
            if stacked is None:
                continue
            steps, losses = stacked
            curve = losses.mean(axis=(0, 2))
            start, end = float(curve[0]), float(curve[-1])
            worst = worst_rise(steps, curve)
            change, unit = compare_with_start(losses), unit_of(arm.trials, key)
            changes.append(SetChange(arm, title, start, end, change, unit, *worst))
    return changes


def set_table(changes: list[SetChange]) -> Table | None:
    """For each arm and test set the change of the loss since step 0 and its worst rise."""
    table = Table(
        ["arm", "set", "step 0", "end", "change", "95% interval", "loss fell or rose", "worst rise"]
    )
    for row in changes:
        verdict = row.change.verdict
        words = CHANGES.get(verdict, f"not clear: {doubt(row.change, row.unit)}")
        worst = f"{signed(row.worst_rise)} at step {row.worst_step:,}"
        table.rows.append(
            [
                Cell(row.arm.label),
                Cell(row.title),
                loss_cell(row.start),
                loss_cell(row.end),
                gap_cell(row.change.difference),
                interval_cell(row.change),
                Cell(words, "failed" if verdict == "behind" else ""),
                Cell(worst if row.worst_rise > 0 else "none", "number"),
            ]
        )
    return table if table.rows else None
