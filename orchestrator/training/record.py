"""What a trial leaves behind: a journal while it runs, Parquet tables and a result at its end.

The journal is the live record: one JSON object a line, flushed as it is written. Whoever wants
to follow a trial (progress, MLflow) reads it; nobody is waited for. The history is the same in
memory, and what a checkpoint keeps of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.storage.artifacts import file_digest, write_json, write_text
from orchestrator.training.spec import Inputs

# Raised when a change of the loop changes results: trials of an older one are run again.
TRAIN_VERSION = 2  # masters are spread; gradients are reduced in float32
JOURNAL = "journal.jsonl"
RESULT = "result.json"
MODEL = "model"  # folder of the trained model, where the study keeps it
ERROR = "error.txt"  # why a trial failed, in one sentence
STOPPED = "stopped.json"  # that a scheduler ended the trial early, and after which step
TABLES = ("plan.parquet", "realised.parquet", "losses.parquet", "train_log.parquet")
GENERATIONS_FILE = "generations.parquet"  # only where answers are generated

REALISED = pa.schema(
    [("step", pa.int32()), ("rank", pa.int32()), ("row", pa.int64()), ("id", pa.string())]
)
# Which test item was measured, and after which step.
ITEM = [("step", pa.int32()), ("set", pa.string()), ("id", pa.string()), ("task", pa.string())]
LOSSES = pa.schema([*ITEM, ("loss", pa.float64()), ("tokens", pa.int32())])
TRAIN_LOG = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("lr", pa.float64()),
        ("grad_norm", pa.float64()),
        ("tokens", pa.int64()),
        ("padded_tokens", pa.int64()),
        ("seconds", pa.float64()),
        # In float16: repetitions of the step, and what losses are multiplied by after it.
        ("overflows", pa.int32()),
        ("loss_scale", pa.float64()),
        # At evaluated steps, since step 0; see `masters.UpdateFidelity`.
        ("update_fidelity", pa.float64()),
        ("fidelity_error", pa.float64()),
        ("changed_weights", pa.float64()),
    ]
)
# Of a generated answer; a metric that the study does not ask for is null.
SCORES = [
    ("prediction", pa.string()),
    ("reference", pa.string()),
    ("rouge1", pa.float64()),
    ("rougeL", pa.float64()),
    ("exact_match", pa.float64()),
    ("reward", pa.float64()),
]
GENERATIONS = pa.schema([*ITEM, *SCORES])


class Journal:
    """Appends events to a trial's journal.

    Args:
        kept_to: last step whose events stay, of a trial that continues; None starts a new journal.
    """

    def __init__(self, folder: Path, kept_to: int | None) -> None:
        # What came after the checkpoint comes again: no step is told twice.
        events = [] if kept_to is None else read_journal(folder)
        kept = [event for event in events if kept_to is not None and event["step"] <= kept_to]
        write_text(folder / JOURNAL, "".join(json.dumps(event) + "\n" for event in kept))
        self._file = (folder / JOURNAL).open("a", encoding="utf-8")

    def write(self, event: str, step: int, **values: float | str) -> None:
        """One event with its wall-clock time in seconds since the epoch."""
        record = {"event": event, "time": time.time(), "step": step, **values}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """The events written so far; none before a trial starts, and never half a line."""
    return JournalTail(folder).new_events()


def precision_of(folder: Path) -> str | None:
    """The arithmetic in which the newest attempt of a trial computed; None before it began."""
    starts = [event["precision"] for event in read_journal(folder) if "precision" in event]
    return starts[-1] if starts else None


class JournalTail:
    """What a trial's journal gained since it was last looked at; its cost is what is new."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._file, self._read = 0, 0

    def new_events(self) -> list[dict[str, Any]]:
        """The events since the last call; all of them again once the journal was replaced."""
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


def loss_table(
    step: int, name: str, rows: NDArray[np.int64], losses: NDArray[np.float64],
    answer_tokens: NDArray[np.int64], inputs: Inputs,
) -> pa.Table:  # fmt: skip
    """Per-instance losses of one test set at one step; null where an answer was cut away."""
    return pa.table(
        {
            "step": np.full(len(rows), step, np.int32),
            "set": [name] * len(rows),
            "id": inputs.ids[rows],
            "task": inputs.tasks[rows],
            "loss": pa.array(losses, mask=np.isnan(losses)),
            "tokens": answer_tokens.astype(np.int32),
        },
        schema=LOSSES,
    )


def generation_table(
    step: int, name: str, rows: NDArray[np.int64], scores: pa.Table, inputs: Inputs
) -> pa.Table:
    """Answers and scores of one test set at one step; `scores` has a line for each of its rows."""
    named = {
        "step": np.full(len(rows), step, np.int32),
        "set": [name] * len(rows),
        "id": inputs.ids[rows],
        "task": inputs.tasks[rows],
    }
    scored = {column: scores[column] for column in GENERATIONS.names if column not in named}
    return pa.table(named | scored, schema=GENERATIONS)


def realised_table(fed: Iterable[tuple[int, int, int]], ids: NDArray[np.object_]) -> pa.Table:
    """(step, rank, row) triples of all ranks as a table sorted by step and rank."""
    columns = np.array(sorted(fed), np.int64).reshape(-1, 3).T
    return pa.table(
        {"step": columns[0].astype(np.int32), "rank": columns[1].astype(np.int32),
         "row": columns[2], "id": ids[columns[2]]},
        schema=REALISED,
    )  # fmt: skip


@dataclass
class History:
    """What one rank has gathered since the trial's first step.

    Attributes:
        fed: (step, rank, row) of each row that this rank put through the model.
        log: a line of `TRAIN_LOG` for each step; the same on every rank but for the seconds.
        losses: tables of `LOSSES`.
        generations: tables of `GENERATIONS`.
    """

    fed: list[tuple[int, int, int]] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)
    losses: list[pa.Table] = field(default_factory=list)
    generations: list[pa.Table] = field(default_factory=list)

    def tables(self) -> dict[str, pa.Table]:
        """Losses, log and, where there are any, generated answers, by file name."""
        tables = {
            "losses.parquet": pa.concat_tables(self.losses),
            "train_log.parquet": pa.Table.from_pylist(self.log, schema=TRAIN_LOG),
        }
        if self.generations:
            tables[GENERATIONS_FILE] = pa.concat_tables(self.generations)
        return tables


def write_history(history: History, folder: Path, rank: int) -> None:
    """Write what a rank fed, and on the first rank the tables, which are the same on all."""
    np.save(folder / f"fed-{rank}.npy", np.array(history.fed, np.int64).reshape(-1, 3))
    if rank == 0:
        for name, table in history.tables().items():
            pq.write_table(table, folder / name)


def read_history(folder: Path, rank: int) -> History:
    """What `write_history` left for a rank."""
    fed = np.load(folder / f"fed-{rank}.npy", allow_pickle=False)
    generations = folder / GENERATIONS_FILE
    return History(
        fed=[(step, by, row) for step, by, row in fed.tolist()],
        log=pq.read_table(folder / "train_log.parquet").to_pylist(),
        losses=[pq.read_table(folder / "losses.parquet")],
        generations=[pq.read_table(generations)] if generations.is_file() else [],
    )


def finish(folder: Path, tables: dict[str, pa.Table], result: dict[str, Any]) -> None:
    """Write the tables, then `result.json` with their digests: the mark of a finished trial."""
    for name, table in tables.items():
        pq.write_table(table, folder / name)
    digests = {name: file_digest(folder / name) for name in {*TABLES, *tables}}
    write_json(folder / RESULT, {**result, "files": digests})


def read_result(folder: Path, key: str) -> dict[str, Any] | None:
    """The result of a finished trial, or None where it is unfinished, damaged or another one's."""
    try:
        result = json.loads((folder / RESULT).read_bytes())
        sound = result["key"] == key and all(
            file_digest(folder / name) == digest for name, digest in result["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return None
    return result if sound else None


def mark_stopped(folder: Path, key: str, scheduler: dict[str, Any]) -> int:
    """Record that a scheduler ended a trial, which is then not run again under this scheduler.

    Returns:
        The last step that the trial measured.
    """
    step = max(event["step"] for event in read_journal(folder) if event["event"] == "measure")
    write_json(folder / STOPPED, {"key": key, "step": step, "scheduler": scheduler})
    return step


def forget_stops(trials: Path, scheduler: dict[str, Any]) -> None:
    """Let the trials in a folder go on that another scheduler than this one ended."""
    for mark in trials.glob(f"*/{STOPPED}"):
        if json.loads(mark.read_bytes())["scheduler"] != scheduler:
            mark.unlink()


def stopped_after(folder: Path, key: str) -> int | None:
    """The last step measured of a trial that a scheduler ended; None of any other trial."""
    try:
        mark = json.loads((folder / STOPPED).read_bytes())
        return int(mark["step"]) if mark["key"] == key else None
    except (OSError, ValueError, KeyError):
        return None


def ended(folder: Path, key: str) -> bool:
    """Whether a trial needs no more training: it finished, or a scheduler stopped it."""
    return read_result(folder, key) is not None or stopped_after(folder, key) is not None
