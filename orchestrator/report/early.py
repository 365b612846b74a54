"""How early each arm generalises, and what training did to each test set.

Claim 1 of arXiv 2406.11721: zero-shot generalisation happens very early in instruction tuning.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.statistics.analysis import (
    Floats,
    Steps,
    elbow,
    set_curve,
    steps_to_fraction,
    worst_rise,
)
from orchestrator.core.statistics.comparison import Verdict, compare_with_start
from orchestrator.report.arms import Arm, stack
from orchestrator.report.figures import SETS
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, interval, number, signed

CHANGES: dict[Verdict, str] = {
    "ahead": "fell",
    "behind": "rose",
    "no clear difference": "not clear",
}


def early_table(arms: list[Arm]) -> Table | None:
    """Elbow and steps to 90% of the drop of each arm's query curve; None without any curve.

    Each is the mean over seeds of the step found for each seed, with the range in brackets.
    """
    table = Table(["arm", "elbow", "drop by the elbow", "steps to 90%", "last step", "total drop"])
    for arm in arms:
        curves = [
            set_curve(step, loss) for step, _, loss in (t.losses("query") for t in arm.trials)
        ]
        curves = [(steps, losses) for steps, losses in curves if len(steps) > 1]
        if not curves:
            continue
        shares = [part for curve in curves if (part := _share_by_elbow(*curve)) is not None]
        total = sum(float(losses[0] - losses.min()) for _, losses in curves) / len(curves)
        share = f"{sum(shares) / len(shares):.0%}" if shares else MISSING
        table.rows.append(
            [
                Cell(arm.label),
                Cell(_steps(curves, elbow), "number"),
                Cell(share, "number"),
                Cell(_steps(curves, steps_to_fraction), "number"),
                Cell(f"{min(int(steps[-1]) for steps, _ in curves):,}", "number"),
                Cell(number(total), "number"),
            ]
        )
    return table if table.rows else None


def _steps(curves: list[tuple[Steps, Floats]], find: Callable[[Steps, Floats], int | None]) -> str:
    found = [step for curve in curves if (step := find(*curve)) is not None]
    if not found:
        return MISSING
    mean = f"{sum(found) / len(found):,.0f}"
    return mean if min(found) == max(found) else f"{mean} ({min(found):,}–{max(found):,})"


def _share_by_elbow(steps: Steps, losses: Floats) -> float | None:
    """Part of the total drop that a curve has made at its elbow."""
    step = elbow(steps, losses)
    total = losses[0] - losses.min()
    if step is None or total <= 0:
        return None
    return float((losses[0] - losses[steps == step][0]) / total)


def set_table(arms: list[Arm]) -> Table | None:
    """For each arm and test set the change of the loss since step 0 and its worst rise.

    Losses are means over tasks; the interval is that of the change.
    """
    table = Table(
        ["arm", "set", "step 0", "end", "change", "95% interval", "loss fell or rose", "worst rise"]
    )
    for arm in arms:
        for key, title in SETS.items():
            curves = [trial.task_losses(key) for trial in arm.trials]
            stacked = stack([curve for curve in curves if curve is not None])
            if stacked is None:
                continue
            steps, _, losses = stacked
            change = compare_with_start(losses)
            curve = losses.mean(axis=(0, 2))
            step, rise = worst_rise(steps, curve)
            table.rows.append(
                [
                    Cell(arm.label),
                    Cell(title),
                    Cell(number(float(curve[0])), "number"),
                    Cell(number(float(curve[-1])), "number"),
                    Cell(signed(change.difference), "number"),
                    Cell(interval(change), "number"),
                    Cell(CHANGES[change.verdict], "failed" if change.verdict == "behind" else ""),
                    Cell(f"{signed(rise)} at step {step:,}" if rise > 0 else "none", "number"),
                ]
            )
    return table if table.rows else None
