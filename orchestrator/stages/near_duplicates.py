"""Rows of the pool whose embedding nearly equals that of a test item, for the report.

Exact and normalised duplicates are found while the data is read (`data.leakage`); a paraphrase
only shows here. Nothing is dropped: near is a matter of the threshold.
"""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.schema import Neighbours
from orchestrator.data.dataset import load_columns_of
from orchestrator.screen import Line
from orchestrator.stages.embed import embedded_rows
from orchestrator.stages.mapped import load_array
from orchestrator.stages.measures import load_texts
from orchestrator.stages.search import nearest_of
from orchestrator.stages.shards import map_shards
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact

NEAR_DUPLICATES_VERSION = 3
LISTED = 20  # pairs that are shown
SHOWN_CHARS = 300  # of each text
NEAREST = [("cosine", "descending"), ("row", "ascending"), ("test_row", "ascending")]
PAIRS = pa.schema([("row", pa.int64()), ("test_row", pa.int64()), ("cosine", pa.float32())])


def near_duplicates_spec(
    dataset: Artifact, embeddings: Artifact, threshold: float, neighbours: Neighbours
) -> Spec:
    """`pairs.parquet`: row, test_row, cosine of every pool row at the threshold or above, with
    the nearest item of each test set, by rising row and test row; and, as the artifact's info,
    counts by test set and the nearest pairs.
    """
    # In row order; a test set whose vectors are not given has none to look at.
    rows = embedded_rows(dataset)
    counts = {name: count for name, count in rows.items() if name in embeddings.info["splits"]}
    ends = np.cumsum(list(counts.values())).tolist()
    # First row and the row behind the last of each test set.
    tests = dict(zip(list(counts)[1:], pairwise(ends), strict=True))

    def make(folder: Path, line: Line) -> dict[str, Any]:
        scratch = folder / "shards"
        scratch.mkdir()
        _search_shards(
            embeddings, counts["pool"], tests, threshold, neighbours, scratch=scratch, line=line
        )
        found, nearest = _gather(scratch, folder / "pairs.parquet")
        shutil.rmtree(scratch)
        within = {
            name: sum(found[row] for row in found if first <= row < end)
            for name, (first, end) in tests.items()
        }
        return {"threshold": threshold, "counts": within, "pairs": _listed(dataset, nearest)}

    return Spec(
        kind="near_duplicates",
        key={
            "version": NEAR_DUPLICATES_VERSION,
            "embeddings": embeddings.digest,
            "threshold": threshold,
        },
        make=make,
        name="near duplicates",
        describe=lambda info: f"{sum(info['counts'].values()):,} pool rows",
    )


def _search_shards(
    embeddings: Artifact, pool: int, tests: dict[str, tuple[int, int]], threshold: float,
    neighbours: Neighbours, *, scratch: Path, line: Line,
) -> None:  # fmt: skip
    """Find all pairs at the threshold or above, shard by shard.

    Args:
        pool: rows of the pool, which come first.
        tests: first row and the row behind the last of each test set.
        scratch: folder that all nodes see; takes the pairs of each shard.
    """
    path = embeddings.path / "vectors.npy"

    def work(start: int, stop: int) -> None:
        vectors, found = load_array(path), []
        for first, end in tests.values():
            test, cosine = nearest_of(vectors[start:stop], vectors[first:end])
            near = np.flatnonzero(cosine >= threshold)
            found.append(pa.table([near + start, test[near] + first, cosine[near]], schema=PAIRS))
        pairs = pa.concat_tables(found).sort_by([("row", "ascending"), ("test_row", "ascending")])
        pq.write_table(pairs, scratch / f"{start:015d}.parquet")

    for done in map_shards(pool, neighbours, work):
        line.update(done, "shards")


def _gather(shards: Path, path: Path) -> tuple[Counter[int], pa.Table]:
    """Write the pairs of all shards to one file, some thousand at a time: where a model tells
    little apart every row of the pool has one.

    Returns:
        How many pairs each test row has, and the nearest pairs.
    """
    found: Counter[int] = Counter()
    nearest = PAIRS.empty_table()
    with pq.ParquetWriter(path, PAIRS) as writer:
        for shard in sorted(shards.iterdir()):
            for batch in pq.ParquetFile(shard).iter_batches():
                pairs = pa.Table.from_batches([batch])
                writer.write_table(pairs)
                rows, times = np.unique(pairs["test_row"].to_numpy(), return_counts=True)
                found.update(dict(zip(rows.tolist(), times.tolist(), strict=True)))
                nearest = pa.concat_tables([nearest, pairs]).sort_by(NEAREST).slice(0, LISTED)
    return found, nearest


def _listed(dataset: Artifact, pairs: pa.Table) -> list[dict[str, Any]]:
    nearest = pairs.to_pylist()
    rows = [pair[key] for pair in nearest for key in ("row", "test_row")]
    numbers = np.array(rows, np.int64)
    ids = load_columns_of(dataset.path, numbers, ["id"])["id"].to_pylist()
    texts = [text[:SHOWN_CHARS] for text in load_texts(dataset, numbers)]
    return [
        {
            "cosine": round(pair["cosine"], 4),
            "pool_id": ids[2 * at],
            "test_id": ids[2 * at + 1],
            "pool_text": texts[2 * at],
            "test_text": texts[2 * at + 1],
        }
        for at, pair in enumerate(nearest)
    ]
