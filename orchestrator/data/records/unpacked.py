"""How many rows of a table may be unpacked at once, so that they take no more than one record may.

A value that comes again may stand once in a file, in a dictionary, and comes once a row in memory:
4 KB become gigabytes. So the dictionaries are looked at before the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.data.records.record import RECORD_BYTES
from orchestrator.errors import DataError

# Unbuffered, Arrow would hold whole column chunks.
BUFFERED: dict[str, Any] = {"buffer_size": 2**20, "pre_buffer": False}
ROW_BYTES = 2**30  # a row that may take more is not tried
DICTIONARY = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
GROWING = "DELTA_BYTE_ARRAY"  # each value is told by what it adds to the one before
NUMBER_BYTES = 12  # of the widest


def rows_of_group(parquet: pq.ParquetFile, path: Path, number: int) -> int:
    """Rows of a row group of Parquet.

    Raises:
        DataError: one row alone may take more than `ROW_BYTES`.
    """
    group = parquet.metadata.row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    if not group.num_rows or any(GROWING in column.encodings for column in columns):
        return 1
    longest = _longest_texts(parquet, path, number)
    taken = 0
    for index, column in enumerate(columns):
        value = NUMBER_BYTES
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            value = parquet.schema.column(index).length
        elif column.physical_type == "BYTE_ARRAY":
            value = longest.get(column.path_in_schema, 0)
        # What is in no dictionary stands in the file as often as it comes.
        taken += column.total_uncompressed_size + column.num_values * value
    if taken > ROW_BYTES * group.num_rows:
        gib = taken / group.num_rows / 2**30
        raise DataError(
            f"{path}: a row of row group {number + 1} may take {gib:.1f} GiB of memory, as long "
            "values come many times in it: write it with fewer of them a row, or, where they are "
            "short, with use_dictionary=False (pyarrow.parquet.write_table)"
        )
    return max(1, RECORD_BYTES * group.num_rows // max(1, taken))


def rows_of_batch(batch: pa.RecordBatch) -> int:
    """Rows of a batch of Arrow, which is in memory already, but for the values of dictionaries."""
    of_dictionaries = sum(_longest(column) for column in batch.columns)
    return max(1, RECORD_BYTES // max(1, batch.nbytes // max(1, batch.num_rows) + of_dictionaries))


def without_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The rows, each with its values themselves: a dictionary would not be sent with them."""
    schema = pa.schema([field.with_type(_plain(field.type)) for field in batch.schema])
    return batch if schema.equals(batch.schema) else batch.cast(schema)


def _longest_texts(parquet: pq.ParquetFile, path: Path, number: int) -> dict[str, int]:
    """Bytes of the longest value in the dictionary of each column of text, by the column's path."""
    group = parquet.metadata.row_group(number)
    columns = [group.column(index) for index in range(group.num_columns)]
    texts = [
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and DICTIONARY.intersection(column.encodings)
    ]
    if not texts:
        return {}
    with pq.ParquetFile(
        path, metadata=parquet.metadata, read_dictionary=texts, **BUFFERED
    ) as coded:
        # The first row brings the dictionaries, each as a whole.
        first = next(coded.iter_batches(batch_size=1, row_groups=[number], columns=texts))
    found = {name: _longest(first.column(name)) for name in first.schema.names}
    return {
        text: max(
            (size for name, size in found.items() if f"{text}.".startswith(f"{name}.")), default=0
        )
        for text in texts
    }


def _longest(array: pa.Array) -> int:
    """Bytes of the longest value in a dictionary of an array, or of the arrays in it."""
    return max(map(_longest_value, _dictionaries(array)), default=0)


def _longest_value(values: pa.Array) -> int:
    try:
        return pc.max(pc.binary_length(values)).as_py() or 0
    except pa.ArrowNotImplementedError:  # no text
        return values.nbytes


def _dictionaries(array: Any) -> Iterator[pa.Array]:
    if pa.types.is_dictionary(array.type):
        yield array.dictionary
    elif pa.types.is_struct(array.type):
        yield from (each for part in array.flatten() for each in _dictionaries(part))
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _dictionaries(array.values)


def _plain(kind: pa.DataType) -> pa.DataType:
    """A type, with no dictionary in it."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_type))
    return kind
