"""The rows of the pool that a file names by their ids, for `method: given`.

A file that names what cannot be trained on is refused, with all that is wrong with it at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.sources import Data
from orchestrator.data.dataset import left_out
from orchestrator.data.listed import ListedIds, named, read_ids, wrong_ids
from orchestrator.errors import DataError
from orchestrator.stages.in_order import in_order
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import INSTANCES_FILE

# Ids that are not in the pool -> why some of them were left out of it.
LeftOut = Callable[[pa.Array], Mapping[str, str]]


def listed_rows(arrangement: Arrangement, data: Data, dataset: Artifact) -> NDArray[np.int64]:
    """Returns the rows that the file of an arrangement names, (n,) int64, in its order.

    Args:
        data: the sources of the data set; read again only to tell why an id is not in the pool.

    Raises:
        DataError: a file that cannot be read, that names too few rows, or that names rows that
            cannot be trained on: all of them, with their lines.
    """
    splits = dataset.info["splits"]
    every = pq.read_table(dataset.path / INSTANCES_FILE, columns=["id"])["id"]
    ids, first = {}, 0
    for split, counts in splits.items():
        ids[split] = every.slice(first, counts["instances"])
        first += counts["instances"]

    def reasons(unknown: pa.Array) -> Mapping[str, str]:
        leaks = data.leakage == "drop" and dataset.info["leakage"]
        if not leaks and not any(source.drawn for source in data.pool_sources.values()):
            return {}
        return left_out(data, unknown, dataset.path.parent, in_order)

    return rows_of(arrangement, ids.pop("pool"), ids, reasons)


def rows_of(
    arrangement: Arrangement,
    pool: pa.ChunkedArray,
    tests: Mapping[str, pa.ChunkedArray],
    why: LeftOut,
) -> NDArray[np.int64]:
    """As `listed_rows`, of ids.

    Args:
        pool: ids of the pool, in row order.
        tests: name of each test set -> its ids.
        why: called only where ids are in none of them.
    """
    path, listed = arrangement.options["path"], read_order(arrangement)
    found = pc.index_in(listed.ids, value_set=pool).combine_chunks()
    rows = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    faults = [*_unknown(listed, rows, tests, why), *wrong_ids(listed)]
    if faults:
        known = ", ".join(ascii(name) for name in pool.slice(0, 2).to_pylist())
        raise DataError(
            "\n  - ".join([f"arrangement.options.path: {path} cannot be trained on:", *faults])
            + f"\nIds of this pool are as {known}: `orchestrator show` prints some with their "
            "text, `orchestrator arrange --format ids` writes all that a method plans"
        )
    if arrangement.rows is not None and arrangement.rows > len(rows):
        raise DataError(
            f"arrangement.rows is {arrangement.rows}, {path} names {len(rows)} ids: "
            f"set {len(rows)} or fewer, or leave it out"
        )
    return rows


def read_order(arrangement: Arrangement) -> ListedIds:
    """Reads the ids that the file of an arrangement names.

    Raises:
        DataError: as `read_ids`.
    """
    try:
        return read_ids(arrangement.options["path"])
    except DataError as error:
        raise DataError(f"arrangement.options.path: {error}") from None


def rows_digest(rows: NDArray[np.int64]) -> str:
    """Returns the SHA-256 of rows in their order: with the data set it says what a file named."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _unknown(
    listed: ListedIds,
    rows: NDArray[np.int64],
    tests: Mapping[str, pa.ChunkedArray],
    why: LeftOut,
) -> Iterator[str]:
    """What is wrong with ids that are not in the pool, a sentence for each reason."""
    outside = np.flatnonzero((rows < 0) & pc.is_valid(listed.ids).to_numpy())
    if not len(outside):
        return
    names = listed.ids.take(pa.array(outside)).combine_chunks()
    reasons = np.full(len(outside), "not in the pool", dtype=object)
    known = why(names)
    for place, name in enumerate(names.to_pylist()) if known else ():
        reasons[place] = known.get(name, reasons[place])
    for split, ids in tests.items():
        reasons[pc.is_in(names, value_set=ids).to_numpy(zero_copy_only=False)] = (
            f"of test items, in data.{split}"
        )
    for reason in dict.fromkeys(reasons):
        places = outside[reasons == reason]
        yield f"{len(places):,} {reason}: {named(listed, places)}"
