"""All instances of a study in one table: the pool, then the test sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.schema import Data
from orchestrator.data.instance import Instance, Message
from orchestrator.data.leakage import TestSide
from orchestrator.data.readers import read
from orchestrator.errors import DataError

TEST_SETS = ("query", "held_out", "off_target")
SPLITS = ("pool", *TEST_SETS)
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("task", pa.string()),
        (
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
        ),
        ("split", pa.string()),
    ]
)
WRITE_ROWS = 10_000


def write(data: Data, folder: Path) -> dict[str, Any]:
    """Read every source into `instances.parquet`.

    Rows are numbered through all splits, the pool first, so that a row number names one
    instance of the study.

    Returns:
        For each split its instances, tasks and what was dropped by reason; and the leakage
        between pool and test sets.

    Raises:
        DataError: for a source that cannot be read, an empty pool or test set, or leakage under
            `leakage: error`.
    """
    dropped: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    tests = {
        split: list(read(source, dropped[split]))
        for split in TEST_SETS
        if (source := getattr(data, split)) is not None
    }
    side = TestSide(tests)
    pool = side.filter(read(data.pool, dropped["pool"]), data.leakage, dropped["pool"])
    counts = {}
    first = 0
    with pq.ParquetWriter(folder / "instances.parquet", SCHEMA) as writer:
        for split, instances in {"pool": pool, **tests}.items():
            written, tasks = _write_split(writer, split, iter(instances), first)
            if not written:
                reasons = ", ".join(f"{n} {why}" for why, n in dropped[split].items())
                raise DataError(
                    f"data.{split} gives no instances"
                    + (f" (dropped: {reasons})" if reasons else "")
                    + ": name a source that holds some, or loosen its limits"
                )
            counts[split] = {
                "instances": written,
                "tasks": tasks,
                "dropped": dict(dropped[split]),
            }
            first += written
    return {"splits": counts, "leakage": side.found}


def load_messages(folder: Path) -> Iterator[list[Message]]:
    """The messages of every instance, in row order."""
    file = pq.ParquetFile(folder / "instances.parquet")
    for batch in file.iter_batches(columns=["messages"]):
        yield from batch.column(0).to_pylist()


def embedding_text(messages: list[Message]) -> str:
    """ "prompt answer": all turns with one space between them (paper, section on similarity)."""
    return " ".join(message["content"].strip() for message in messages).strip()


def _write_split(
    writer: pq.ParquetWriter, split: str, instances: Iterator[Instance], first: int
) -> tuple[int, int]:
    """Append a split; returns its instances and tasks."""
    row, tasks = first, set()
    buffer: list[dict[str, Any]] = []
    for instance in instances:
        tasks.add(instance.task)
        buffer.append(
            {
                "row": row,
                "id": instance.id,
                "task": instance.task,
                "messages": list(instance.messages),
                "split": split,
            }
        )
        row += 1
        if len(buffer) == WRITE_ROWS:
            writer.write_table(pa.Table.from_pylist(buffer, schema=SCHEMA))
            buffer = []
    if buffer:
        writer.write_table(pa.Table.from_pylist(buffer, schema=SCHEMA))
    return row - first, len(tasks)
