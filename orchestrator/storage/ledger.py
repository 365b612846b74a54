"""The ledger beside the studies of an output folder: how right their forecasts were.

A line a study and forecaster, written once when the study ended: JSON with the forecast's digest,
that of its trials, and the score on each test set. The same trials, foretold and trained again,
say nothing new: they have one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from orchestrator.core.statistics.forecasting import Score
from orchestrator.errors import DataError
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import LEDGER_FILE
from orchestrator.storage.lock import locked

# What a line is of: it is not written again.
IDENTITIES = (("forecast",), ("forecaster", "trials"))


def read_ledger(output: Path) -> list[dict[str, Any]]:
    """The lines of an output folder's ledger; none where no forecast was scored yet.

    Raises:
        DataError: naming a line that is none.
    """
    path = output / LEDGER_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            entry["sets"] = {name: Score(**score) for name, score in entry["sets"].items()}
            entries.append(entry)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} line {number} is no score ({error}): remove the line, or put it back"
            ) from None
    return entries


def scores_of(entries: Iterable[dict[str, Any]], forecaster: str, test_set: str) -> list[Score]:
    """The scores of a forecaster on a test set, one of each study."""
    return [
        entry["sets"][test_set]
        for entry in entries
        if entry["forecaster"] == forecaster and test_set in entry["sets"]
    ]


def append_once(output: Path, entries: list[dict[str, Any]]) -> None:
    """Add the lines that the ledger does not hold; other processes may do so at the same time.

    Args:
        entries: JSON objects with `forecast`, the digest of a forecast, `forecaster`, `trials`, the
            digest of what it was of, and `sets`, fields of a `Score` by test set.

    Raises:
        DataError: the ledger cannot be read.
    """
    with locked(output, wait=True):
        known = read_ledger(output)
        kept = {_identity(entry, keys) for entry in known for keys in IDENTITIES}
        new = [
            entry
            for entry in entries
            if not kept.intersection(_identity(entry, keys) for keys in IDENTITIES)
        ]
        if new:
            path = output / LEDGER_FILE
            text = path.read_text(encoding="utf-8") if known else ""
            write_text(path, text + "".join(json.dumps(entry) + "\n" for entry in new))


def _identity(entry: dict[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(entry.get(key)) for key in keys)
