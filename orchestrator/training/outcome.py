"""How a trial ended, as its folder tells: the marks of each end, and the one way to read them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.storage.artifacts import file_digest, write_json, write_table
from orchestrator.storage.files import (
    ERROR_FILE,
    MEASURES_FILE,
    RESULT_FILE,
    RESULT_TABLES,
    STOPPED_FILE,
)
from orchestrator.training.journal import measured_losses

FINISHED, STOPPED, FAILED, UNFINISHED = "finished", "stopped", "failed", "unfinished"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or that it has not ended yet.

    Attributes:
        status: `FINISHED`; `STOPPED`, early and by a scheduler; `FAILED`; or `UNFINISHED`, as are
            also damaged trials and those of another configuration.
        result: what a finished trial's result.json says; empty of any other.
        last_step: the last step that a stopped trial measured; None of any other.
        error: why a failed trial failed, in one sentence; None of any other.
        twin_of: name of the trial whose end it took as its own, see `twins`; None: it was trained.
    """

    status: str
    result: dict[str, Any]
    last_step: int | None = None
    error: str | None = None
    twin_of: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the trial needs no more training."""
        return self.status in (FINISHED, STOPPED)


def read_outcome(folder: Path, key: str | None) -> Outcome:
    """How the trial in a folder ended; of a finished one every table is compared with its digest.

    Args:
        key: of its spec: the end of a trial with another one is none; None takes any.
    """
    return _outcome(folder, key, compared=True)


def marked_outcome(folder: Path) -> Outcome:
    """How the trial in a folder ended by its marks, which are taken as they are: to compare every
    table with its digest costs too much for those who only look."""
    return _outcome(folder, None, compared=False)


def _outcome(folder: Path, key: str | None, *, compared: bool) -> Outcome:
    if (result := _read_result(folder, key, compared=compared)) is not None:
        return Outcome(FINISHED, result, twin_of=result.get("twin_of"))
    if (mark := _read_stop(folder, key)) is not None:
        return Outcome(STOPPED, {}, last_step=mark["step"], twin_of=mark.get("twin_of"))
    try:
        return Outcome(FAILED, {}, error=(folder / ERROR_FILE).read_text(encoding="utf-8"))
    except OSError:
        return Outcome(UNFINISHED, {})


def ended(folder: Path, key: str) -> bool:
    """Whether a trial needs no more training: it finished, or a scheduler stopped it."""
    return read_outcome(folder, key).ended


def mark_finished(
    folder: Path,
    tables: dict[str, pa.Table],
    result: dict[str, Any],
    there: Iterable[str] = RESULT_TABLES,
) -> None:
    """Write the tables, then `result.json` with their digests: the mark of a finished trial.

    Args:
        there: tables whose digests it also holds, each among `tables` or in the folder already.
    """
    for name, table in tables.items():
        write_table(folder / name, table)
    digests = {name: file_digest(folder / name) for name in {*there, *tables}}
    write_json(folder / RESULT_FILE, {**result, "files": digests})
    if (folder / MEASURES_FILE).is_file():
        mark_measures(folder)


def mark_measures(folder: Path) -> None:
    """Add the digest of the measures to the mark of a finished trial, which stays finished without
    them: they can be made again."""
    result = json.loads((folder / RESULT_FILE).read_bytes())
    beside = {MEASURES_FILE: file_digest(folder / MEASURES_FILE)}
    write_json(folder / RESULT_FILE, {**result, "beside": beside})


def changed_tables(folder: Path, mark: str = RESULT_FILE) -> tuple[list[str], int]:
    """Names of the tables that are no longer what they were when a mark was written, and how many
    tables it has a digest of. Tables that can be made again may be missing.

    Raises:
        OSError, ValueError, KeyError, TypeError: there is no such mark, or it is damaged.
    """
    result = json.loads((folder / mark).read_bytes())
    beside = {name: digest for name, digest in result.get("beside", {}).items()
              if (folder / name).is_file()}  # fmt: skip
    digests = {**result["files"], **beside}
    changed = [
        name for name in digests
        if not (folder / name).is_file() or file_digest(folder / name) != digests[name]
    ]  # fmt: skip
    return changed, len(digests)


def mark_stopped(folder: Path, key: str, scheduler: dict[str, Any]) -> int:
    """Record that a scheduler ended a trial, which is then not run again under this scheduler.

    Returns:
        The last step that the trial measured.
    """
    step = max(event["step"] for event in measured_losses(folder))
    write_json(folder / STOPPED_FILE, {"key": key, "step": step, "scheduler": scheduler})
    return step


def forget_stops(trials: Path, scheduler: dict[str, Any]) -> None:
    """Let the trials in a folder go on that another scheduler than this one ended."""
    for mark in trials.glob(f"*/{STOPPED_FILE}"):
        if json.loads(mark.read_bytes())["scheduler"] != scheduler:
            mark.unlink()


def _read_result(folder: Path, key: str | None, *, compared: bool) -> dict[str, Any] | None:
    """What result.json says; None where it is missing or damaged, or one of its tables is, as far
    as these are compared."""
    try:
        result: dict[str, Any] = json.loads((folder / RESULT_FILE).read_bytes())
        tables = result["files"] if compared else {}
        sound = key in (None, result["key"]) and all(
            file_digest(folder / name) == digest for name, digest in tables.items()
        )
    except (OSError, ValueError, KeyError):
        return None
    return result if sound else None


def _read_stop(folder: Path, key: str | None) -> dict[str, Any] | None:
    """The mark of a stopped trial; None where there is no such mark."""
    try:
        mark: dict[str, Any] = json.loads((folder / STOPPED_FILE).read_bytes())
        return {**mark, "step": int(mark["step"])} if key in (None, mark["key"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
