"""The tables of the report, as cells of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.statistics.analysis import area_under_curve
from orchestrator.core.statistics.comparison import Comparison
from orchestrator.report.arms import Arm, common_ground, query_curves
from orchestrator.report.contrast import Contrast
from orchestrator.report.read import Trial
from orchestrator.report.text import MISSING, interval, number, short_hash, signed

# Sections of run.json that have a place of their own on the page.
PLACED = {"command", "stages", "data", "near_duplicates", "embeddings", "tokens"}
DECIMAL_COLUMNS = {
    "query_loss", "held_out_loss", "off_target_loss", "best_query_loss", "query_loss_auc",
    "lowest_update_fidelity", "changed_weights",
}  # fmt: skip
RATE_COLUMNS = {"seconds", "tokens_per_second"}
STEP_COLUMNS = {"steps", "steps_to_90"}


@dataclass(frozen=True)
class Cell:
    """Text and its style classes: number, best, failed, wrapped."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    headers: list[str]
    rows: list[list[Cell]] = field(default_factory=list)


def step_table(arms: list[Arm], contrast: Contrast | None) -> Table | None:
    """Query loss of every arm and the two arms' difference, at each evaluated step and by area.

    Losses are means over tasks and, of finished arms, over the seeds that all of them finished, so
    that they and the difference add up; areas are those up to the last common step. Arms without
    such a loss, as those that were stopped early, have no column. None without any.
    """
    ground = common_ground(arms)
    kept = {arm.index: arm for arm in ground.arms} if ground else {}
    arms = [kept.get(arm.index, arm) for arm in arms]
    measured = {arm: curve for arm in arms if (curve := query_curves(arm)) is not None}
    if not measured:
        return None
    arms = list(measured)
    losses = {
        arm: dict(zip(curve.steps.tolist(), curve.losses.mean(axis=1).tolist(), strict=True))
        for arm, curve in measured.items()
    }

    compared = ["ahead", "difference", "95% interval", f"{contrast.unit}s"] if contrast else []
    table = Table(["step", *compared, *(arm.label for arm in arms)])

    def add(label: str, result: Comparison | None, values: dict[Arm, float]) -> None:
        cells = _comparison_cells(contrast, result) if contrast else []
        table.rows.append([Cell(label), *cells, *_loss_cells(arms, values)])

    for step in sorted(set().union(*losses.values())):
        values = {arm: losses[arm][step] for arm in measured if step in losses[arm]}
        add(str(step), contrast.by_step.get(step) if contrast else None, values)
    if ground is not None:
        # The area of a run that broke off covers other steps: it cannot stand beside the others.
        areas = {arm: ground.areas[arm.name] for arm in ground.arms}
        last = int(ground.steps[-1])
        label = "by area" if ground.whole else f"by area to step {last:,}"
        same = contrast is not None and contrast.end == last
        add(label, contrast.by_area if contrast and same else None, areas)
    return table


def _loss_cells(arms: list[Arm], values: dict[Arm, float]) -> list[Cell]:
    """The lowest loss among finished arms is marked, unless all are the same."""
    rivals = [value for arm, value in values.items() if arm.finished]
    best = min(rivals) if len(set(rivals)) > 1 else None
    return [
        Cell(MISSING, "number")
        if arm not in values
        else Cell(
            number(values[arm]),
            "number best" if arm.finished and values[arm] == best else "number",
        )
        for arm in arms
    ]


def _comparison_cells(contrast: Contrast, result: Comparison | None) -> list[Cell]:
    if result is None:
        return [Cell(MISSING)] * 4
    leader = contrast.a_name if result.difference < 0 else contrast.b_name
    clear = result.verdict in ("ahead", "behind")
    equal = result.difference == 0
    return [
        Cell("equal" if equal else leader if clear else f"{leader}, not clearly"),
        Cell(signed(result.difference), "number"),
        Cell(interval(result), "number"),
        Cell(f"{result.tasks_ahead} of {result.tasks}", "number"),
    ]


def task_table(contrast: Contrast) -> Table:
    """Area under the curve of both arms for each task or instance, the largest advantage first."""
    areas_a = area_under_curve(contrast.a.steps, contrast.a.losses)
    areas_b = area_under_curve(contrast.b.steps, contrast.b.losses)
    table = Table([contrast.unit, contrast.a_name, contrast.b_name, "difference"])
    for index in (areas_a - areas_b).argsort(kind="stable"):
        a, b = float(areas_a[index]), float(areas_b[index])
        values = [Cell(number(a), "number"), Cell(number(b), "number")]
        table.rows.append([Cell(contrast.a.tasks[index]), *values, Cell(signed(a - b), "number")])
    return table


def summary_table(trials: list[Trial]) -> Table:
    """summary.csv, without the columns that are empty in every row."""
    columns = [key for key in trials[0].summary if any(trial.summary[key] for trial in trials)]
    rows = [[_summary_cell(key, trial.summary[key]) for key in columns] for trial in trials]
    for trial, row in zip(trials, rows, strict=True):
        if not trial.finished:
            kind = "" if trial.stopped else "failed"
            row[columns.index("status")] = Cell(trial.summary["status"], kind)
    return Table(columns, rows)


def _summary_cell(column: str, text: str) -> Cell:
    kind = "number" if column in DECIMAL_COLUMNS | RATE_COLUMNS | STEP_COLUMNS else ""
    if not text:
        return Cell(MISSING, kind)
    if column in DECIMAL_COLUMNS:
        return Cell(number(float(text)), kind)
    if column in RATE_COLUMNS:
        return Cell(f"{float(text):,.1f}", kind)
    return Cell(short_hash(text) if column.endswith("_sha256") else text, kind)


def stage_table(stages: list[dict[str, Any]]) -> Table:
    """Stages of run.json with their wall time."""
    return Table(
        ["stage", "seconds", "reused"],
        [
            [
                Cell(str(stage.get("name", MISSING))),
                Cell(_describe("seconds", stage.get("seconds")), "number"),
                Cell(_describe("reused", stage.get("reused"))),
            ]
            for stage in stages
        ],
    )


def run_facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """run.json as label and text, one line for each entry of its sections, in its order.

    What stands elsewhere on the page is left out.
    """
    facts = []
    for key, value in run.items():
        if key in PLACED:
            continue
        if isinstance(value, dict) and any(isinstance(entry, dict) for entry in value.values()):
            facts += [(f"{key}: {name}", _describe(name, entry)) for name, entry in value.items()]
        else:
            facts.append((key, _describe(key, value)))
    return [(label.replace("_", " "), text) for label, text in facts]


def _describe(key: str, value: Any) -> str:
    """Any JSON value in one line; digests cut short."""
    match value:
        case None:
            return MISSING
        case bool():
            return "yes" if value else "no"
        case float():
            return number(value)
        case dict():
            parts = (
                f"{name.replace('_', ' ')} {_nested(name, entry)}" for name, entry in value.items()
            )
            return ", ".join(parts) or "none"
        case list():
            return "; ".join(_describe(key, entry) for entry in value) or "none"
    digest = key.endswith("sha256") or key == "fingerprint"
    return short_hash(str(value)) if digest else str(value)


def _nested(key: str, value: Any) -> str:
    text = _describe(key, value)
    return f"({text})" if isinstance(value, dict) and value else text
