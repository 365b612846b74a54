"""Tables of Parquet and Arrow, cut into blocks of rows, each of which is a record.

How many rows are unpacked at once depends on what they may take then: `unpacked`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.records import unpacked
from orchestrator.data.records.files import File
from orchestrator.data.records.opened import ARROW_FILE, PARQUET, form
from orchestrator.data.records.record import (
    RECORD_BYTES,
    Block,
    Place,
    Record,
    RecordError,
    too_long,
)
from orchestrator.errors import DataError

BATCH_ROWS = 256


def blocks(file: File) -> Iterator[Block]:
    """Yields the blocks of a table of Parquet or Arrow, whose rows are objects."""
    number, kind = 0, form(file.path)
    batches = map(_detached, _batches(file, kind))
    while True:
        with _sound_table(file.path, kind, number):
            batch = next(batches, None)
        if batch is None:
            return
        yield partial(_records, file.path, file.stem, kind, number, batch)
        number += batch.rows


class _Batch(NamedTuple):
    """Rows of a table, without the rest of it, which a slice would take along elsewhere."""

    schema: pa.Schema
    data: pa.Buffer
    rows: int


def _detached(batch: pa.RecordBatch) -> _Batch:
    plain = unpacked.without_dictionaries(batch)
    return _Batch(plain.schema, plain.serialize(), plain.num_rows)


def _records(path: Path, stem: str, kind: str, number: int, batch: _Batch) -> Iterator[Record]:
    """Yields the rows of a batch behind so many others."""
    with _sound_table(path, kind, number):
        for row in _rows(pa.ipc.read_record_batch(batch.data, batch.schema)):
            number += 1
            yield Place(f"{path} row {number}", stem, number), row


@contextmanager
def _sound_table(path: Path, kind: str, number: int) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = f"{kind} file" if kind == PARQUET else kind
        raise DataError(f"{path}: no sound {what} after row {number:,} ({error})") from None


def _batches(file: File, kind: str) -> Iterator[pa.RecordBatch]:
    """Yields at most `BATCH_ROWS` rows of a table at a time."""
    if kind == PARQUET:
        # Over several groups at once, Arrow would hold all that it read.
        with pq.ParquetFile(file.path, **unpacked.BUFFERED) as parquet:
            for group in range(parquet.num_row_groups):
                rows = min(BATCH_ROWS, unpacked.rows_of_group(parquet, file.path, group))
                yield from parquet.iter_batches(batch_size=rows, row_groups=[group])
        return
    with pa.memory_map(str(file.path)) as stream:
        if kind == ARROW_FILE:
            table = pa.ipc.open_file(stream)
            batches = (table.get_batch(number) for number in range(table.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(stream))
        for batch in batches:
            batch.validate()
            rows = min(BATCH_ROWS, unpacked.rows_of_batch(batch))
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _rows(batch: pa.RecordBatch) -> Iterator[Any]:
    """Yields the rows of a batch, those that are too long or not UTF-8 as RecordError."""
    if batch.nbytes <= RECORD_BYTES:
        try:
            yield from batch.to_pylist()
            return
        except UnicodeDecodeError:
            pass  # one by one, to find the row
    for row in (batch.slice(i, 1) for i in range(batch.num_rows)):
        try:
            yield too_long() if row.nbytes > RECORD_BYTES else row.to_pylist()[0]
        except UnicodeDecodeError:
            yield RecordError("invalid UTF-8")
