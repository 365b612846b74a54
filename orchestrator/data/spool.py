"""Instances set aside on disk, where how many there are has to be known before any is passed on.

Not for what can be passed on as it comes: a spool takes as much disk as the texts in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # (n,) of all rows of a spool


class Spool:
    """Tables of one schema in a file, in their order. Memory is one of them.

    Attributes:
        rows: of all tables together.
    """

    def __init__(self, path: Path, tables: Iterable[pa.Table]) -> None:
        """Read all tables, into a file at `path`."""
        self.rows = 0
        self._path = path
        writer: pa.RecordBatchFileWriter | None = None
        for table in tables:
            writer = writer or pa.ipc.new_file(str(path), table.schema)
            writer.write_table(table)
            self.rows += len(table)
        if writer:
            writer.close()

    def tables(self, mask: Mask | None = None) -> Iterator[pa.Table]:
        """Yields the rows of a mask, or all of them, as tables that hold some."""
        first = 0
        for table in self._read():
            stop = first + len(table)
            kept = table if mask is None else table.filter(pa.array(mask[first:stop]))
            if len(kept):
                yield kept
            first = stop

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Yields a column by its tables; no other one is read."""
        return (table[name] for table in self._read(name))

    def _read(self, *columns: str) -> Iterator[pa.Table]:
        if not self.rows:
            return
        with pa.OSFile(str(self._path)) as file:
            schema = pa.ipc.open_file(file).schema
            chosen = [schema.get_field_index(name) for name in columns]
            options = pa.ipc.IpcReadOptions(included_fields=chosen)
            reader = pa.ipc.open_file(file, options=options)
            for number in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(number)])
