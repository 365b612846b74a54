"""The first rows of each arm as text, with the query that chose each: what the arms look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.report.figures import distance_title
from orchestrator.report.tables import MINUS, MISSING, Cell, Table, number, short_text
from orchestrator.report.trial import Trial

SHOWN_CHARS = 220  # of a prompt, and of an answer


@dataclass(frozen=True)
class Beginning:
    """How the plan of some arms begins.

    Attributes:
        arms: in words.
        trial: whose plan it is.
        distance: what its distances are; empty where it has none.
        rows: a row of the plan a line.
    """

    arms: str
    trial: str
    distance: str
    rows: Table


def beginnings(run: dict[str, Any], trials: list[Trial]) -> list[Beginning]:
    """Section `first_rows` of run.json; empty where a study is older than it."""
    known = {trial.name: trial for trial in trials}
    return [
        Beginning(", ".join(entry["arms"]), entry["trial"], _distance(entry, known), _table(entry))
        for entry in run.get("first_rows", [])
    ]


def _distance(entry: dict[str, Any], trials: dict[str, Trial]) -> str:
    trial = trials.get(entry["trial"])
    measured = any(row["distance"] is not None for row in entry["rows"])
    return distance_title(trial) if trial and measured else ""


def _table(entry: dict[str, Any]) -> Table:
    """Rows and queries by id, prompt and answer, without the columns that hold nothing."""
    rows = entry["rows"]
    columns = {
        "place": [Cell(f"{place:,}", "number") for place in range(1, len(rows) + 1)],
        "row": [_text_cell(row) for row in rows],
        "turn": [Cell(f"{row['turn']:,}".replace("-", MINUS), "number") for row in rows],
        "distance": [_distance_cell(row["distance"]) for row in rows],
        "query that chose it": [_text_cell(row["query"]) for row in rows],
    }
    shown = {
        name: of_all
        for name, of_all in columns.items()
        if {cell.text for cell in of_all} != {MISSING}
    }
    return Table(list(shown), [list(line) for line in zip(*shown.values(), strict=True)])


def _distance_cell(distance: float | None) -> Cell:
    return Cell(MISSING if distance is None else number(distance), "number")


def _text_cell(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell(MISSING)
    prompt, answer = (
        short_text(" ".join(row[part].split()), SHOWN_CHARS) for part in ("prompt", "answer")
    )
    return Cell(f"{row['id']}\n{prompt}\n▸ {answer}", "wrapped text")
