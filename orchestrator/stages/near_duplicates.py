"""Rows of the pool whose embedding nearly equals that of a test item, for the report.

Exact and normalised duplicates are found while the data is read (`data.leakage`); a paraphrase
only shows here. Nothing is dropped: near is a matter of the threshold.
"""

from __future__ import annotations

import shutil
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

NEAR_DUPLICATES_VERSION = 2
LISTED = 20  # pairs that are shown
SHOWN_CHARS = 300  # of each text


def near_duplicates_spec(
    dataset: Artifact, embeddings: Artifact, threshold: float, neighbours: Neighbours
) -> Spec:
    """`pairs.parquet`: row, test_row, cosine of every pool row at the threshold or above, with
    the nearest item of each test set; and, as the artifact's info, counts by test set and the
    nearest pairs.
    """
    # In row order; a test set whose vectors are not given has none to look at.
    rows = embedded_rows(dataset)
    counts = {name: count for name, count in rows.items() if name in embeddings.info["splits"]}
    ends = np.cumsum(list(counts.values())).tolist()
    # First row and the row behind the last of each test set.
    tests = dict(zip(list(counts)[1:], pairwise(ends), strict=True))

    def make(folder: Path, line: Line) -> dict[str, Any]:
        pairs = _near_pairs(
            embeddings, counts["pool"], tests, threshold, neighbours, folder=folder, line=line
        )
        pq.write_table(pairs, folder / "pairs.parquet")
        return {
            "threshold": threshold,
            "counts": _counts(pairs, tests),
            "pairs": _listed(dataset, pairs),
        }

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


def _near_pairs(
    embeddings: Artifact, pool: int, tests: dict[str, tuple[int, int]], threshold: float,
    neighbours: Neighbours, *, folder: Path, line: Line,
) -> pa.Table:  # fmt: skip
    """All pairs at the threshold or above, the nearest first, searched shard by shard.

    Args:
        pool: rows of the pool, which come first.
        tests: first row and the row behind the last of each test set.
        folder: that all nodes see, for files of the shards.
    """
    path, scratch = embeddings.path / "vectors.npy", folder / "shards"
    scratch.mkdir()

    def work(start: int, stop: int) -> None:
        vectors = load_array(path)
        for name, (first, end) in tests.items():
            test, cosine = nearest_of(vectors[start:stop], vectors[first:end])
            near = np.flatnonzero(cosine >= threshold)
            columns = {"row": near + start, "test_row": test[near] + first, "cosine": cosine[near]}
            pq.write_table(pa.table(columns), scratch / f"{start:015d}-{name}.parquet")

    for done in map_shards(pool, neighbours, work):
        line.update(done, "shards")
    pairs = pq.read_table(scratch).sort_by([("cosine", "descending"), ("row", "ascending")])
    shutil.rmtree(scratch)
    return pairs


def _counts(pairs: pa.Table, tests: dict[str, tuple[int, int]]) -> dict[str, int]:
    rows = pairs["test_row"].to_numpy()
    return {
        name: int(((rows >= first) & (rows < end)).sum()) for name, (first, end) in tests.items()
    }


def _listed(dataset: Artifact, pairs: pa.Table) -> list[dict[str, Any]]:
    nearest = pairs.slice(0, LISTED).to_pylist()
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
