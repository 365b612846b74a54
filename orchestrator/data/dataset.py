"""All instances of a study in one table: the pool, then the test sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.sources import Data, SourceOptions
from orchestrator.data.instance import Message
from orchestrator.data.mixture import UNDRAWN
from orchestrator.data.readers import Counts, InOrder, together
from orchestrator.data.splits import Splits, check_any, read_splits, undrawn_pool
from orchestrator.data.table import COLUMNS, word_counts
from orchestrator.storage.artifacts import scratch_beside
from orchestrator.storage.files import INSTANCES_FILE, SOURCE

TEST_SETS = ("query", "held_out", "off_target")
SPLITS = ("pool", *TEST_SETS)
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("task", pa.string()),
        ("messages", COLUMNS["messages"]),
        ("split", pa.string()),
        ("unlearned", COLUMNS["unlearned"]),
    ]
)
WRITE_ROWS = 10_000  # at once, or fewer once they hold so many bytes
WRITE_BYTES = 2**25


class Part(NamedTuple):
    """Instances that follow one another in one row group of the table.

    Attributes:
        group: number of the row group.
        start: of the part in it; `stop` is behind its last row.
        first: row number of the first instance.
    """

    group: int
    start: int
    stop: int
    first: int


def write(data: Data, folder: Path, in_order: InOrder = map) -> dict[str, Any]:
    """Read every source into `instances.parquet`.

    Rows are numbered through all splits, the pool first, so that a row number names one
    instance of the study. Where the pool has a list of sources, they follow one another in its
    order, and a column `source` names the one that a row comes from.

    Args:
        data: the sources.
        folder: of the file, which is the same however the checks of its blocks are called.
        in_order: calls them.

    Returns:
        {"splits": {split: {"instances", "tasks", "repeated", "dropped", "notes", "unread",
        "metadata"}}, "leakage"}: how many instances have the text of an earlier one of their split,
        what was left out of each split and what was changed, by reason, what of its records
        nothing read, by name, and the leakage between pool and test sets by kind. What comes from
        a list of sources has "sources", too: of each the same but its tasks and repeated texts, of
        a held-out set alone its instances.

    Raises:
        DataError: a source that cannot be read, an empty pool or test set, what `read_splits`
            refuses, or leakage under `leakage: error`.
    """
    with TemporaryDirectory(dir=folder) as scratch:
        splits = read_splits(data, Path(scratch), in_order)
        info, first = {}, 0
        schema = SCHEMA.append(SOURCE) if isinstance(data.pool, list) else SCHEMA
        with pq.ParquetWriter(folder / INSTANCES_FILE, schema) as writer:
            for split in ("pool", *splits.tests):
                tables = splits.pool if split == "pool" else iter([splits.tests[split]])
                written, sources = _write_split(writer, split, tables, first)
                counts = _checked_counts(data, splits, split, sources)
                info[split] = {**written, **counts.told()}
                if sources.keys() - {""}:
                    # What was left out of a source is told where the others of it are.
                    told = splits.sources if split == "pool" else {}
                    info[split]["sources"] = {
                        name: {"instances": count, **(told[name].told() if told else {})}
                        for name, count in sources.items()
                    }
                first += written["instances"]
    return {"splits": info, "leakage": dict(splits.leaks)}


def left_out(data: Data, ids: pa.Array, folder: Path, in_order: InOrder = map) -> dict[str, str]:
    """Tells why rows are not in the pool that its sources gave; the sources are read again.

    Args:
        data: the sources.
        ids: that are not in the pool.
        folder: for instances that are set aside meanwhile.
        in_order: calls the checks of the pool's blocks.

    Returns:
        id -> that it was left out as leakage, with the first kind of it, or was not drawn. Ids that
        no source gave are not in it.
    """
    found: dict[str, str] = {}
    with scratch_beside(folder / "left-out") as scratch:
        for rows in undrawn_pool(data, scratch, in_order):
            named = rows.filter(pc.is_in(rows["id"], value_set=ids))
            for name, kinds in zip(
                named["id"].to_pylist(), named["leaks"].to_pylist(), strict=True
            ):
                dropped = kinds and data.leakage == "drop"
                found[name] = (
                    f"left out of the pool as leakage, {kinds[0]}"
                    if dropped
                    else f"{UNDRAWN} of its source"
                )
    return found


def load_messages(folder: Path) -> Iterator[list[Message]]:
    """Yields the messages of every instance, in row order."""
    for column in _message_columns(folder):
        yield from column.to_pylist()


def parts(folder: Path, rows: int, skipped: int = 0) -> list[Part]:
    """Instances in row order, in parts of at most so many rows, without the first, skipped ones."""
    metadata = pq.ParquetFile(folder / INSTANCES_FILE).metadata
    found = []
    first = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        starts = range(max(0, skipped - first), size, rows)
        found += [Part(group, at, min(at + rows, size), first + at) for at in starts]
        first += size
    return found


def load_part(folder: Path, part: Part) -> tuple[list[list[Message]], list[list[int]]]:
    """The messages of a part's instances, and the positions of answers that carry no loss."""
    columns = ["messages", "unlearned"]
    group = pq.ParquetFile(folder / INSTANCES_FILE).read_row_group(part.group, columns)
    rows = group.slice(part.start, part.stop - part.start)
    return rows["messages"].to_pylist(), rows["unlearned"].to_pylist()


def load_unlearned_of(folder: Path, rows: NDArray[np.int64]) -> list[list[int]]:
    """Returns of some rows, in the order asked for, the positions of answers that carry no loss."""
    unlearned: list[list[int]] = load_columns_of(folder, rows, ["unlearned"])[
        "unlearned"
    ].to_pylist()
    return unlearned


def load_columns_of(folder: Path, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
    """Columns of some rows, in the order asked for; of all others one row group is read at a time,
    and kept no longer."""
    file = pq.ParquetFile(folder / INSTANCES_FILE)
    wanted, place = np.unique(rows, return_inverse=True)
    found, first = [file.schema_arrow.empty_table().select(columns)], 0
    for group in range(file.num_row_groups):
        behind = first + file.metadata.row_group(group).num_rows
        begin, end = np.searchsorted(wanted, [first, behind])
        here = wanted[begin:end] - first
        if len(here):
            found.append(file.read_row_group(group, columns).take(pa.array(here)))
        first = behind
    return pa.concat_tables(found).take(pa.array(place))


def name_of(folder: Path, row: int) -> str:
    """Names a row by its split and id, for an error message."""
    table = pq.read_table(
        folder / INSTANCES_FILE, columns=["id", "split"], filters=[("row", "=", row)]
    )
    return f"data.{table['split'][0].as_py()}, instance {table['id'][0].as_py()!r}"


def load_messages_of(folder: Path, rows: NDArray[np.int64]) -> Iterator[list[Message]]:
    """Yields the messages of some rows, in the order asked for.

    Only those are made Python objects, whatever the size of the table; of rows that rise, a batch
    at a time.
    """
    numbered = _rising_messages(folder, np.unique(rows))
    if np.all(np.diff(rows) > 0):
        return (messages for _, messages in numbered)
    return map(dict(numbered).__getitem__, rows.tolist())


def _rising_messages(folder: Path, rows: NDArray[np.int64]) -> Iterator[tuple[int, list[Message]]]:
    first = 0
    for column in _message_columns(folder):
        begin, end = np.searchsorted(rows, [first, first + len(column)])
        here = rows[begin:end]
        messages = column.take(pa.array(here - first)).to_pylist()
        yield from zip(here.tolist(), messages, strict=True)
        first += len(column)


def _message_columns(folder: Path) -> Iterator[pa.Array]:
    """Yields the messages of all instances, some thousand at a time."""
    file = pq.ParquetFile(folder / INSTANCES_FILE)
    for group in range(file.num_row_groups):
        # One by one: what Arrow reads over several groups it keeps until the last of them.
        for batch in file.iter_batches(columns=["messages"], row_groups=[group]):
            yield batch.column(0)


def embedding_text(messages: list[Message], part: str = "both") -> str:
    """Returns "prompt answer": all turns with one space between them (paper, on similarity).

    Args:
        messages: of an instance.
        part: `both`; or of all turns `answer`, what the assistant says, or `prompt`, what it is
            given: system and tool turns count there, as a system message put before the prompt.
    """
    answers, given = part != "prompt", part != "answer"
    said = (
        message["content"].strip()
        for message in messages
        if (answers if message["role"] == "assistant" else given)
    )
    return " ".join(said).strip()


def _checked_counts(data: Data, splits: Splits, split: str, sources: Counter[str]) -> Counts:
    """What was left out of a split and changed, once it is written.

    Raises:
        DataError: one of its sources gave nothing.
    """
    if split != "pool":
        if isinstance(source := data.test_sets[split], SourceOptions):
            check_any(f"data.{split}", source, sources[""], splits.counts[split])
        return splits.counts[split]
    for name, source in data.pool_sources.items():
        key = f"data.pool, source {name}" if name else "data.pool"
        check_any(key, source, sources[name], splits.sources[name])
    return together(splits.sources.values())


def _write_split(
    writer: pq.ParquetWriter, split: str, tables: Iterator[pa.Table], first: int
) -> tuple[dict[str, int], Counter[str]]:
    """Append a split; returns how many instances, tasks and repeated texts it has, and its
    instances by source, "" of one that stands alone."""
    row = first
    tasks: set[str] = set()
    hashes = []
    sources: Counter[str] = Counter()
    for table in _batches(tables):
        names = (
            table["source"] if "source" in table.column_names else pa.nulls(len(table), pa.string())
        )
        columns = {
            "row": pa.array(range(row, row + len(table)), pa.int64()),
            **{name: table[name] for name in ("id", "task", "messages")},
            "split": pa.repeat(split, len(table)),
            "unlearned": table["unlearned"],
            "source": names,
        }
        writer.write_table(
            pa.table({name: columns[name] for name in writer.schema.names}, writer.schema)
        )
        row += len(table)
        hashes.append(_hashes(table))
        tasks.update(table["task"].unique().to_pylist())
        sources.update(word_counts(names.fill_null("")))
    rows, texts = row - first, len(np.unique(np.concatenate(hashes))) if hashes else 0
    return {"instances": rows, "tasks": len(tasks), "repeated": rows - texts}, sources


def _hashes(table: pa.Table) -> NDArray[np.int64]:
    """(rows,) of what is said in each instance, equal where that is; of this process alone."""
    messages = table["messages"].combine_chunks()
    said = pa.ListArray.from_arrays(messages.offsets, messages.values.field("content"))
    texts = pc.binary_join(said, " ").to_pylist()
    return np.fromiter(map(hash, texts), np.int64, len(texts))


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yields tables of WRITE_ROWS rows, or of fewer once they hold so many bytes."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        rows = sum(map(len, held))
        if rows >= WRITE_ROWS or sum(each.nbytes for each in held) >= WRITE_BYTES:
            whole = pa.concat_tables(held)
            full = rows // WRITE_ROWS * WRITE_ROWS or rows
            yield from (whole.slice(at, WRITE_ROWS) for at in range(0, full, WRITE_ROWS))
            held = [whole.slice(full)]
    if sum(map(len, held)):
        yield pa.concat_tables(held)
