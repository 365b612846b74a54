"""A trial's journal: what it does, one JSON object a line, in the file once it is written.

Whoever wants to follow a trial (the screen, Ray Tune, MLflow) reads it; nobody is waited for.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.storage.artifacts import append, write_text
from orchestrator.storage.files import JOURNAL_FILE


class Journal:
    """Appends events to the journal in a folder.

    Args:
        kept_to: last step whose events stay, of a trial that continues; None starts a new journal.
    """

    def __init__(self, folder: Path, kept_to: int | None) -> None:
        # What came after the checkpoint comes again: no step is told twice.
        events = [] if kept_to is None else read_journal(folder)
        kept = [event for event in events if kept_to is not None and event["step"] <= kept_to]
        self._path = folder / JOURNAL_FILE
        write_text(self._path, "".join(json.dumps(event) + "\n" for event in kept))

    def write(self, event: str, step: int, **values: float | str) -> None:
        """Append one event with its wall-clock time in seconds since the epoch.

        Raises:
            ValueError: for NaN or infinity, which JSON does not know.
            DiskError: the disk takes no more.
        """
        line = {"event": event, "time": time.time(), "step": step, **values}
        append(self._path, json.dumps(line, allow_nan=False) + "\n")


class JournalTail:
    """What a journal gained since it was last looked at; its cost is what is new."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_FILE
        self._file, self._read = 0, 0

    def new_events(self) -> list[dict[str, Any]]:
        """The events since the last call; all of them again once the journal was replaced.

        There are none before the trial starts, and never half a line.
        """
        try:
            with self._path.open("rb") as journal:
                status = os.fstat(journal.fileno())
                replaced = status.st_ino != self._file or status.st_size < self._read
                self._read = 0 if replaced else self._read
                self._file = status.st_ino
                journal.seek(self._read)
                lines = journal.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        whole = [line for line in lines if line.endswith(b"\n")]
        self._read += sum(map(len, whole))
        return [json.loads(line) for line in whole]


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The events written so far; none before a trial starts, and never half a line."""
    return JournalTail(folder).new_events()


def measured_losses(folder: Path) -> list[dict[str, Any]]:
    """The events of test losses in a journal, in the order in which they were written."""
    return [event for event in read_journal(folder) if event["event"] == "measure"]


def precision_of(folder: Path) -> str | None:
    """The arithmetic in which the newest attempt of a trial computed; None before it began."""
    starts = [event["precision"] for event in read_journal(folder) if "precision" in event]
    return starts[-1] if starts else None
