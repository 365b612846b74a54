"""Stage 3: ranked lists, searched shard by shard through Ray Data and merged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.schema import Neighbours
from orchestrator.core.ranking import Candidates, End, merge
from orchestrator.screen import Line
from orchestrator.stages.mapped import load_array
from orchestrator.stages.pool import Granularity, Pool, granularity_name
from orchestrator.stages.search import search
from orchestrator.stages.shards import map_shards
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact

NEIGHBOURS_VERSION = 3
FIELDS = ("units", "distances", "bound")


def neighbours_spec(
    pool: Pool, embeddings: Artifact, granularity: Granularity, end: End, neighbours: Neighbours
) -> Spec:
    """Ranked lists of the query set over the pool's units, from one end of the pool."""
    assert pool.vectors is not None, "embeddings without vectors"
    assert pool.queries is not None, "embeddings without queries"
    vectors, queries = pool.vectors, pool.queries

    def make(folder: Path, line: Line) -> dict[str, int]:
        # The vectors of instances are in a file already; means of groups are few.
        path = embeddings.path / "vectors.npy"
        scratch = folder / "shards"
        scratch.mkdir()
        if granularity != "instance":
            path = scratch / "vectors.npy"
            np.save(path, vectors)
        np.save(scratch / "queries.npy", queries)
        lists, shards = _search_shards(path, len(vectors), scratch, end, neighbours, line)
        shutil.rmtree(scratch)
        save_lists(lists, folder / "lists")
        return {"units": len(vectors), "queries": len(queries), "shards": shards}

    return Spec(
        kind="neighbours",
        # Groups made elsewhere may differ in a row: what they hold counts, not how many.
        key=neighbours_key(
            embeddings,
            "instance" if granularity == "instance" else pool.partition,
            end,
            neighbours,
        ),
        make=make,
        name=f"{end} neighbours by {granularity_name(granularity)}",
        describe=lambda info: f"{info['queries']:,} queries, {info['units']:,} units",
    )


def neighbours_key(
    embeddings: Artifact, units: str, end: End, neighbours: Neighbours
) -> dict[str, Any]:
    """All that decides ranked lists.

    Args:
        units: `instance`, or the digest of another partition of the pool.
    """
    return {
        "version": NEIGHBOURS_VERSION,
        "embeddings": embeddings.digest,
        "units": units,
        "end": end,
        "depth": neighbours.depth,
    }


def _search_shards(
    vectors: Path, units: int, scratch: Path, end: End, neighbours: Neighbours, line: Line
) -> tuple[Candidates, int]:
    """The lists of all queries, searched shard by shard, and the number of shards.

    Args:
        vectors: .npy file of (units, d), as all nodes see it.
        scratch: folder that all nodes see; holds `queries.npy` and takes the lists of each shard.
    """

    def work(start: int, stop: int) -> None:
        queries = np.load(scratch / "queries.npy", allow_pickle=False)
        shard = load_array(vectors)[start:stop]
        lists = search(queries, shard, neighbours.depth, offset=start, end=end)
        save_lists(lists, scratch / f"{start:015d}")

    shards = 0
    for shards in map_shards(units, neighbours, work):
        line.update(shards, "shards")
    merged: list[Candidates] = []
    for folder in sorted(path for path in scratch.iterdir() if path.is_dir()):
        part = load_lists(folder)
        merged = [merge([*merged, part], neighbours.depth)] if merged else [part]
    assert merged, "an empty pool was refused before"
    return merged[0], shards


def load_neighbours(artifact: Artifact) -> Candidates:
    """The ranked lists of an artifact, memory-mapped."""
    return load_lists(artifact.path / "lists")


def save_lists(lists: Candidates, folder: Path) -> None:
    """One array a file, so that readers map them instead of loading them."""
    folder.mkdir(exist_ok=True)  # a task that died may have made it
    for field in FIELDS:
        np.save(folder / f"{field}.npy", getattr(lists, field))


def load_lists(folder: Path) -> Candidates:
    """What `save_lists` wrote, memory-mapped."""
    return Candidates(*(load_array(folder / f"{field}.npy") for field in FIELDS))
