"""How numbers are written, tables as cells of text, and those tables that say what was run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import compress
from typing import Any
from urllib.parse import quote

from orchestrator.core.statistics.comparison import FEWEST_TASKS, Comparison
from orchestrator.report.trial import Trial
from orchestrator.storage.files import PLAN_FILE, TRIALS_FOLDER
from orchestrator.training.outcome import FAILED

MISSING = "–"
MINUS = "\N{MINUS SIGN}"
ROUNDING = 1e-7  # of a loss, in nats
SAMPLED = "○"  # as a hollow marker: a step at which only a part of a set was measured
# Sections of run.json that have a place of their own on the page.
PLACED = {
    "command", "stages", "data", "near_duplicates", "embeddings", "tokens", "test_tokens",
    "first_rows", "errors",
}  # fmt: skip
DECIMAL_COLUMNS = {
    "query_loss", "held_out_loss", "off_target_loss", "best_query_loss", "query_loss_auc",
    "lowest_update_fidelity", "changed_weights",
}  # fmt: skip
RATE_COLUMNS = {"seconds", "tokens_per_second"}
STEP_COLUMNS = {"steps", "steps_to_90"}


def number(value: float) -> str:
    """Three decimals, and below 0.1 as many as show three significant digits.

    What is below `ROUNDING` is 0: losses are sums of float32.
    """
    if abs(value) < ROUNDING:
        return "0"
    decimals = 3
    if abs(value) < 1:
        decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{decimals}f}".replace("-", MINUS)


def signed(value: float) -> str:
    """As `number`, and always with a sign, but for 0."""
    text = number(value)
    return text if text == "0" or text.startswith(MINUS) else f"+{text}"


def interval(comparison: Comparison) -> str:
    """The 95% interval of a difference."""
    return f"{signed(comparison.low)} to {signed(comparison.high)}"


def doubt(comparison: Comparison, unit: str) -> str:
    """Why a difference is not clear, in a few words; empty of one that is.

    Args:
        unit: what is compared over, "task" or "instance".
    """
    if comparison.verdict != "no clear difference":
        return ""
    if comparison.tasks < FEWEST_TASKS:
        return f"fewer than {FEWEST_TASKS} {unit}s"
    return "equal" if comparison.low == comparison.high else "the interval holds 0"


def by_chance(count: float) -> str:
    """A count that is a mean over random pairings: one decimal."""
    return f"{count:.1f}"


def p_value(value: float) -> str:
    """Three decimals, for the eye alone: whether p is below a threshold is asked of the number."""
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def p_words(value: float) -> str:
    """p and its value, as in "p = 0.012"."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def short_hash(value: str) -> str:
    """Enough of a digest to recognise it by."""
    return value[:12]


def short_text(text: str, characters: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


@dataclass(frozen=True)
class Cell:
    """Text, its style classes (number, best, failed, wrapped, text) and where it leads, if it does.

    In cells of the class text line breaks show.
    """

    text: str
    kind: str = ""
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Headers, rows of as many cells, and what is said of all rows in the place of columns."""

    headers: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    common: str = ""


def loss_cell(value: float | None, *, best: bool = False) -> Cell:
    """A loss, or an error, in nats; the best of its row is marked."""
    kind = "number best" if best else "number"
    return Cell(MISSING if value is None else number(value), kind)


def gap_cell(value: float | None) -> Cell:
    """A difference, with its sign."""
    return Cell(MISSING if value is None else signed(value), "number")


def interval_cell(comparison: Comparison) -> Cell:
    """The 95% interval of a difference."""
    return Cell(interval(comparison), "number")


def count_cell(value: int) -> Cell:
    """How many there are of something, or a step."""
    return Cell(f"{value:,}", "number")


def summary_table(trials: list[Trial], *, linked: bool = True) -> Table:
    """summary.csv, without the columns that are empty in every row, or the same in each of several.

    Args:
        linked: a trial's name leads to its plan, beside the page.
    """
    columns = [key for key in trials[0].summary if any(trial.summary[key] for trial in trials)]
    rows = [[_summary_cell(key, trial.summary[key]) for key in columns] for trial in trials]
    for trial, row in zip(trials, rows, strict=True):
        if linked and "plan" in trial.tables:
            place = f"../{TRIALS_FOLDER}/{quote(trial.name)}/{PLAN_FILE}"
            row[columns.index("trial")] = Cell(trial.name, link=place)
        if not trial.finished:
            kind = "failed" if trial.summary["status"] == FAILED else ""
            row[columns.index("status")] = Cell(trial.summary["status"], kind)
    apart = [
        len(trials) == 1
        or len({trial.summary[key] for trial in trials}) > 1
        or (key == "status" and not trials[0].finished)
        for key in columns
    ]
    said = [f"{key} {cell.text}" for key, cell in zip(columns, rows[0], strict=True)]
    common = "; ".join(compress(said, [not each for each in apart]))
    return Table([*compress(columns, apart)], [[*compress(row, apart)] for row in rows], common)


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
                Cell(_fact_text("seconds", stage.get("seconds")), "number"),
                Cell(_fact_text("reused", stage.get("reused"))),
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
            facts += [(f"{key}: {name}", _fact_text(name, entry)) for name, entry in value.items()]
        else:
            facts.append((key, _fact_text(key, value)))
    return [(label.replace("_", " "), text) for label, text in facts]


def _fact_text(key: str, value: Any) -> str:
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
                f"{name.replace('_', ' ')} {_nested_text(name, entry)}"
                for name, entry in value.items()
            )
            return ", ".join(parts) or "none"
        case list():
            return "; ".join(_fact_text(key, entry) for entry in value) or "none"
    digest = key.endswith("sha256") or key == "fingerprint"
    return short_hash(str(value)) if digest else str(value)


def _nested_text(key: str, value: Any) -> str:
    text = _fact_text(key, value)
    return f"({text})" if isinstance(value, dict) and value else text
