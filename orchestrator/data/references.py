"""The further right answers of test items, which a generated answer is held against.

Losses are those of the first answer, so that a data set is the same with and without them: they
stand beside it, and are read where answers are generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.sources import Data
from orchestrator.data.dataset import TEST_SETS
from orchestrator.data.instance import FURTHER_ANSWERS
from orchestrator.data.readers import InOrder
from orchestrator.data.splits import read_tests
from orchestrator.data.table import COLUMNS

REFERENCES_FILE = "references.parquet"
SCHEMA = pa.schema([("row", pa.int64()), ("references", COLUMNS["references"])])


def has_references(data: Data, splits: Mapping[str, Any]) -> bool:
    """Whether a test item has several right answers, or may have, being held out of the pool.

    Args:
        data: the sources.
        splits: what their dataset remembers of each split.
    """
    held_out = data.hold_out is not None and data.hold_out.origin == "pool"
    names = ("pool", *TEST_SETS) if held_out else TEST_SETS
    return any(FURTHER_ANSWERS in splits[name]["notes"] for name in names if name in splits)


def write(data: Data, splits: Mapping[str, Any], folder: Path, in_order: InOrder = map) -> int:
    """Read the test sets once more into `references.parquet`, and return how many items it holds.

    Args:
        data: the sources.
        splits: what their dataset remembers of each split.
        folder: of the file.
        in_order: calls the checks of blocks.
    """
    count, first = 0, splits["pool"]["instances"]
    with (
        TemporaryDirectory(dir=folder) as scratch,
        pq.ParquetWriter(folder / REFERENCES_FILE, SCHEMA) as writer,
    ):
        for table in read_tests(data, Path(scratch), in_order).values():
            rows = pa.array(range(first, first + len(table)), pa.int64())
            found = pa.table([rows, table["references"]], schema=SCHEMA)
            found = found.filter(pc.greater(pc.list_value_length(found["references"]), 0))
            writer.write_table(found)
            first, count = first + len(table), count + len(found)
    return count


def load(folder: Path | None, rows: NDArray[Any], answers: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the right answers of some rows, in the order asked for.

    Args:
        folder: of `references.parquet`; None: every row has one.
        rows: (n,) of the dataset.
        answers: the n answers that carry the losses.
    """
    further: dict[int, list[str]] = {}
    if folder is not None:
        table = pq.read_table(folder / REFERENCES_FILE)
        further = dict(zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True))
    return [
        tuple(dict.fromkeys((answer, *further.get(row, ()))))
        for row, answer in zip(rows.tolist(), answers, strict=True)
    ]
