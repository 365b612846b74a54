"""The ledger beside the studies of an output folder: how right their forecasts were.

A line a study and forecaster, written once when the study ended: JSON with the forecast's digest,
that of its trials, and the score on each test set, pair by pair. The same trials, foretold and
trained again, say nothing new: they have one line; and a pair of arms that several studies trained
counts once (`core.statistics.scores.standing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.core.statistics.scores import Score
from orchestrator.errors import DataError
from orchestrator.storage.artifacts import key_digest, write_text
from orchestrator.storage.files import LEDGER_FILE
from orchestrator.storage.lock import locked
from orchestrator.storage.sealed import SEAL


@dataclass(frozen=True)
class Line:
    """How right a forecast was.

    Attributes:
        forecast: its digest.
        forecaster, study: their names.
        trials: a digest of the names of all trials that it was of.
        made, scored: when, in UTC.
        sets: its score on each test set.
    """

    forecast: str
    forecaster: str
    study: str
    trials: str
    made: str
    scored: str
    sets: dict[str, Score]

    @property
    def identities(self) -> list[tuple[str, ...]]:
        """What the line is of: neither is entered again."""
        return [(self.forecast,), (self.forecaster, self.trials)]


LINE = TypeAdapter(Line)


def read_ledger(output: Path) -> list[Line]:
    """The lines of an output folder's ledger; none where no forecast was scored yet.

    Raises:
        DataError: naming a line that is none.
    """
    path = output / LEDGER_FILE
    lines = path.read_bytes().splitlines() if path.is_file() else []
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(LINE.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{path} line {number} is damaged, or of another version ("
                f"{f'{where}: ' if where else ''}{first['msg']}): put it back as it was, or remove "
                "the line and run its study again, which enters the score anew"
            ) from None
    return entries


def scores_of(lines: Iterable[Line], forecaster: str, test_set: str) -> list[Score]:
    """The scores of a forecaster on a test set, one of each study, the earliest first."""
    return [
        line.sets[test_set]
        for line in lines
        if line.forecaster == forecaster and test_set in line.sets
    ]


def trials_digest(record: dict[str, Any]) -> str:
    """Of the names of all trials that a forecast is of."""
    return key_digest(sorted(record["trials"]))


def check_scored(lines: Iterable[Line], record: dict[str, Any]) -> None:
    """Refuse a forecast where another one of the same forecaster and trials has been scored.

    Args:
        lines: of the ledger.
        record: the content of a forecast's file.

    Raises:
        DataError: the file was sealed anew, or made after its trials were trained.
    """
    asked = (record["forecaster"], trials_digest(record))
    for line in lines:
        if (line.forecaster, line.trials) == asked and line.forecast != record[SEAL]:
            raise DataError(
                f"{line.forecaster}.json is not the one that was scored, whose SHA-256 is "
                f"{line.forecast} as the ledger says since {line.scored}: it was changed and "
                "sealed anew, or made after its trials had been trained. Put back the file as it "
                "was, or remove it"
            )


def append_once(output: Path, lines: list[Line]) -> None:
    """Add the lines that the ledger does not hold; other processes may do so at the same time.

    Raises:
        DataError: the ledger cannot be read.
    """
    with locked(output, wait=True):
        known = read_ledger(output)
        kept = {identity for line in known for identity in line.identities}
        new = [line for line in lines if kept.isdisjoint(line.identities)]
        if new:
            content = [LINE.dump_json(line).decode() + "\n" for line in [*known, *new]]
            write_text(output / LEDGER_FILE, "".join(content))
