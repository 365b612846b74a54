"""The tables that set arms against each other, from their contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from orchestrator.core.statistics.analysis import area_under_curve
from orchestrator.core.statistics.comparison import Comparison
from orchestrator.report.arms import Arm, common_basis, query_curves
from orchestrator.report.contrast import Contrast
from orchestrator.report.tables import (
    MISSING,
    SAMPLED,
    Cell,
    Table,
    doubt,
    gap_cell,
    interval_cell,
    loss_cell,
)

SHOWN_STRETCHES = 4  # of clear steps in a cell


@dataclass(frozen=True)
class StepLosses:
    """Query losses of arms at one step, or by area.

    Attributes:
        label: which step, in words.
        losses: of each arm that has one, the mean over tasks and seeds.
        comparison: of the two arms compared; None where they are not, there.
        sampled: whether only a part of the query set was measured there.
    """

    label: str
    losses: dict[Arm, float]
    comparison: Comparison | None
    sampled: bool = False


def step_losses(arms: list[Arm], contrast: Contrast | None) -> list[StepLosses]:
    """The losses at each evaluated step, and by area up to the last common one.

    Losses are means over tasks and, of finished arms, over the seeds that all of them finished, so
    that they and the difference add up. Empty where no arm has a loss.
    """
    basis = common_basis(arms)
    kept = {arm.index: arm for arm in basis.arms} if basis else {}
    arms = [kept.get(arm.index, arm) for arm in arms]
    curves = {arm: curve for arm in arms if (curve := query_curves(arm)) is not None}
    losses = {
        arm: dict(zip(curve.steps.tolist(), curve.losses.mean(axis=1).tolist(), strict=True))
        for arm, curve in curves.items()
    }
    by_step = contrast.by_step if contrast else {}
    sampled = set().union(*(arm.sampled_steps("query") for arm in arms))
    rows = [
        StepLosses(
            str(step),
            {arm: by_arm[step] for arm, by_arm in losses.items() if step in by_arm},
            by_step.get(step),
            step in sampled,
        )
        for step in sorted(set().union(*losses.values()))
    ]
    if basis is not None:
        # The area of a run that broke off covers other steps: it cannot stand beside the others.
        areas = {arm: basis.areas[arm.name] for arm in basis.arms}
        last = int(basis.steps[-1])
        label = "by area" if basis.whole else f"by area to step {last:,}"
        same = contrast if contrast is not None and contrast.end == last else None
        rows.append(StepLosses(label, areas, same.by_area if same else None))
    return rows


def step_table(arms: list[Arm], contrast: Contrast | None) -> Table | None:
    """Query loss of every arm and the two arms' difference, at each evaluated step and by area.

    Arms without a loss of all their tasks, as those that were stopped early, have no column. None
    without any.
    """
    rows = step_losses(arms, contrast)
    measured = {arm.index: arm for row in rows for arm in row.losses}
    shown = [measured[index] for index in sorted(measured)]
    if not shown:
        return None
    compared = ["ahead", "difference", "95% interval", f"{contrast.unit}s"] if contrast else []
    table = Table(["step", *compared, *(arm.label for arm in shown)])
    for row in rows:
        cells = _comparison_cells(contrast, row.comparison) if contrast else []
        label = f"{row.label} {SAMPLED}" if row.sampled else row.label
        table.rows.append([Cell(label), *cells, *_loss_cells(shown, row.losses)])
    return table


def _loss_cells(arms: list[Arm], losses: dict[Arm, float]) -> list[Cell]:
    """The lowest loss among finished arms is marked, unless all are the same."""
    rivals = [loss for arm, loss in losses.items() if arm.finished]
    best = min(rivals) if len(set(rivals)) > 1 else None
    return [
        loss_cell(
            losses.get(arm), best=best is not None and losses.get(arm) == best and arm.finished
        )
        for arm in arms
    ]


def _comparison_cells(contrast: Contrast, result: Comparison | None) -> list[Cell]:
    if result is None:
        return [Cell(MISSING)] * 4
    leader = contrast.a_name if result.difference < 0 else contrast.b_name
    equal = result.difference == 0
    why = doubt(result, contrast.unit)
    return [
        Cell("equal" if equal else f"{leader}, not clear: {why}" if why else leader),
        gap_cell(result.difference),
        interval_cell(result),
        Cell(f"{result.tasks_ahead} of {result.tasks}", "number"),
    ]


def task_table(contrast: Contrast) -> Table:
    """Area under the curve of both arms for each task or instance, the largest advantage first."""
    areas_a = area_under_curve(contrast.a.steps, contrast.a.losses)
    areas_b = area_under_curve(contrast.b.steps, contrast.b.losses)
    table = Table([contrast.unit, contrast.a_name, contrast.b_name, "difference"])
    for index in (areas_a - areas_b).argsort(kind="stable"):
        a, b = float(areas_a[index]), float(areas_b[index])
        name = Cell(contrast.a.tasks[index])
        table.rows.append([name, loss_cell(a), loss_cell(b), gap_cell(a - b)])
    return table


def neighbour_table(neighbours: list[Contrast]) -> Table | None:
    """Each arm minus the next: by area, in the middle and at the end, and where it is clear."""
    if not neighbours:
        return None
    table = Table(["expected ahead", "of", *_gap_headers(neighbours), "clear at step"])
    for contrast in neighbours:
        names = [Cell(contrast.a_name), Cell(contrast.b_name)]
        clear = Cell(clear_steps(contrast), "wrapped")
        table.rows.append([*names, *_gap_cells(contrast), clear])
    return table


def set_gap_table(sets: dict[str, Contrast]) -> Table | None:
    """The two compared arms on each test set: whether what helps one set helps the others."""
    if not sets:
        return None
    table = Table(["set", "compared on", *_gap_headers([*sets.values()]), "ahead by area"])
    for title, contrast in sets.items():
        result = contrast.by_area
        ahead = {"ahead": contrast.a_name, "behind": contrast.b_name}.get(
            result.verdict, f"not clear: {doubt(result, contrast.unit)}"
        )
        count = Cell(f"{result.tasks:,} {contrast.unit}s", "number")
        table.rows.append([Cell(title), count, *_gap_cells(contrast), Cell(ahead, "wrapped")])
    return table


def _gap_headers(contrasts: list[Contrast]) -> list[str]:
    """The headers of `_gap_cells`."""
    whole = all(contrast.whole for contrast in contrasts)
    end = "at the end" if whole else "at the last common step"
    middles = {contrast.middle_words for contrast in contrasts}
    middle = middles.pop() if len(middles) == 1 else "in the middle"
    return ["by area", "95% interval", middle, end]


def _gap_cells(contrast: Contrast) -> list[Cell]:
    middle = None if contrast.middle is None else contrast.by_step[contrast.middle].difference
    return [
        gap_cell(contrast.by_area.difference),
        interval_cell(contrast.by_area),
        gap_cell(middle),
        gap_cell(contrast.by_step[contrast.end].difference),
    ]


def clear_steps(contrast: Contrast) -> str:
    """The evaluated steps at which A is clearly ahead, and those at which it is behind.

    Stretches of steps, or where there are many the number of steps and the first of them.
    """
    parts = []
    for verdict, word in (("ahead", ""), ("behind", "behind at ")):
        clear = [result.verdict == verdict for result in contrast.by_step.values()]
        stretches = [
            [step for step, _ in group]
            for is_clear, group in groupby(
                zip(contrast.by_step, clear, strict=True), key=lambda pair: pair[1]
            )
            if is_clear
        ]
        if len(stretches) > SHOWN_STRETCHES:
            first = stretches[0][0]
            parts.append(f"{word}{sum(clear)} of {len(clear)}, the first is {first:,}")
        elif stretches:
            parts.append(word + ", ".join(_stretch(steps) for steps in stretches))
    return "; ".join(parts) or "none"


def _stretch(steps: list[int]) -> str:
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
