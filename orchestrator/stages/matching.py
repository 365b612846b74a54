"""Which row of a file of vectors belongs to which instance: by ids, or by its number.

Everything that is wrong with a file is told at once: ids that repeat or lack instances, and vectors
that have no direction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.data.listed import NAMED, ListedIds, first_of, read_ids, wrong_ids
from orchestrator.errors import DataError
from orchestrator.stages.vector_files import open_vectors, survey

ARRAY = b"\x93NUMPY"  # the first bytes of a .npy file
SAVE = "write the ids with numpy.save(path, numpy.array(ids, dtype=str))"


class Given(NamedTuple):
    """The files of one set of instances.

    Attributes:
        split: of the dataset.
        key, ids_key: of the study file, for messages.
        path, ids_path: the values of these keys; the second may be None.
    """

    split: str
    key: str
    path: str
    ids_key: str
    ids_path: str | None


class Matched(NamedTuple):
    """The vectors of one set of instances.

    Attributes:
        vectors: (n, d) floating-point numbers, memory-mapped.
        rows: (instances,) int64, the vector of each instance; None: of each its own row.
        unit: as `survey` found of these rows.
    """

    vectors: NDArray[Any]
    rows: NDArray[np.int64] | None
    unit: bool


def matched_vectors(given: Given, ids: pa.ChunkedArray, left_out: str) -> Matched:
    """The vectors of a set of instances, looked through.

    Args:
        ids: of the instances, in row order.
        left_out: how many others the set held, and why, in a few words.

    Raises:
        DataError: all that is wrong with its ids, or else with its vectors.
    """
    vectors, rows = open_vectors(file_of(given.path)), None
    if given.ids_path is not None:
        rows = _rows_by_id(given, given.ids_path, len(vectors), ids)
    elif len(vectors) != len(ids):
        raise DataError(
            f"{given.key}: {given.path} has {len(vectors):,} rows, data.{given.split} holds "
            f"{len(ids):,} instances{left_out}: without ids row i is the vector of the i-th "
            f"instance that is kept. Name the vectors by {given.ids_key}, a file with the id of "
            "each row: then they may be more, and in any order"
        )
    looked = survey(vectors, rows)
    if len(looked.bad):
        raise DataError(_bad_rows(given, looked.bad, rows, ids))
    return Matched(vectors, rows, looked.unit)


def _rows_by_id(given: Given, path: str, rows: int, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """The row of each instance in a file of so many vectors, (instances,) int64."""
    try:
        listed = _read_ids(path)
    except DataError as error:
        raise DataError(f"{given.ids_key}: {error}") from None
    found = pc.index_in(ids, value_set=listed.ids)
    faults = [*wrong_ids(listed)]
    if len(listed.ids) != rows:
        faults.append(
            f"{len(listed.ids):,} ids, and {given.path} has {rows:,} rows: give the id of each "
            "row, in the order of the rows"
        )
    if lacking := ids.filter(pc.is_null(found)):
        few = (ascii(name)[:80] for name in lacking.slice(0, NAMED).to_pylist())
        faults.append(
            f"{len(lacking):,} of the {len(ids):,} instances of data.{given.split} not named, "
            f"{first_of(few, len(lacking))}: embed them as well, or leave them out of "
            f"data.{given.split}; `orchestrator arrange --format ids` writes the ids of a pool"
        )
    if faults:
        raise DataError(
            "\n  - ".join([f"{given.ids_key}: {path} does not name the vectors:", *faults])
        )
    numbers: NDArray[np.int64] = found.to_numpy().astype(np.int64)
    return numbers


def _bad_rows(
    given: Given, bad: NDArray[np.int64], rows: NDArray[np.int64] | None, ids: pa.ChunkedArray
) -> str:
    """A sentence on vectors that have no direction; `bad` are positions of instances."""
    few = bad[:NAMED]
    named = [
        f"{row} ({ascii(name)[:80]})"
        for row, name in zip(
            (few if rows is None else rows[few]).tolist(),
            ids.take(pa.array(few)).to_pylist(),
            strict=True,
        )
    ]
    more = f" and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
    return (
        f"{given.key}: {given.path}: row {', '.join(named)}{more}, counted from 0, is zero, "
        f"infinite or not a number: embed its text again, or leave the instance out of "
        f"data.{given.split}"
    )


def _read_ids(path: str) -> ListedIds:
    """The ids of a file, as `read_ids`; or of a .npy file of strings or whole numbers."""
    with file_of(path).open("rb") as stream:
        if stream.read(len(ARRAY)) != ARRAY:
            return read_ids(path)
    try:
        names = np.load(file_of(path), allow_pickle=False)
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({error}): {SAVE}") from None
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise DataError(f"{path} holds {names.dtype} of shape {names.shape}: {SAVE}")
    texts = pa.chunked_array([pa.array(names.astype(str))])
    return ListedIds(texts, np.arange(1, len(names) + 1), "row")


def file_of(path: str) -> Path:
    """The file that a value of the study file names."""
    return Path(path).expanduser()
