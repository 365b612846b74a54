"""Stage 3: ranked lists, searched shard by shard through Ray Data and merged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.config.schema import Neighbours
from orchestrator.core.ranking import Candidates, merge
from orchestrator.core.units import units_digest
from orchestrator.screen import Line
from orchestrator.stages.pool import Granularity, Pool, load_array
from orchestrator.stages.search import PoolSpace, search
from orchestrator.stages.shards import map_shards
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.remote import ArtifactStore

NEIGHBOURS_VERSION = 3
FIELDS = ("units", "distances", "bound")

End = Literal["near", "far"]


def build_neighbours(
    pool: Pool,
    embeddings: Artifact,
    granularity: Granularity,
    end: End,
    *,
    neighbours: Neighbours,
    store: ArtifactStore,
    line: Line,
) -> Artifact:
    """Ranked lists of the query set over the pool's units, from one end of the pool."""
    assert pool.vectors is not None, "embeddings without vectors"
    assert pool.queries is not None, "embeddings without queries"
    vectors, queries = pool.vectors, pool.queries

    def make(folder: Path) -> dict[str, int]:
        scratch = folder / "shards"
        scratch.mkdir()
        # The vectors of instances are in a file already; means of groups are few.
        path = embeddings.path / "vectors.npy"
        if granularity != "instance":
            path = scratch / "vectors.npy"
            np.save(path, vectors)
        np.save(scratch / "queries.npy", queries)

        def work(start: int, stop: int) -> None:
            found = search(
                np.load(scratch / "queries.npy", allow_pickle=False),
                load_array(path)[start:stop],
                neighbours.depth,
                offset=start,
                farthest=end == "far",
            )
            save_lists(found, scratch / f"{start:015d}")

        found: Candidates | None = None
        done = 0
        for done in map_shards(len(vectors), neighbours, work):
            line.update(done, "shards")
        for shard in sorted(path for path in scratch.iterdir() if path.is_dir()):
            part = load_lists(shard)
            found = part if found is None else merge([found, part], neighbours.depth)
        assert found is not None, "an empty pool was refused before"
        shutil.rmtree(scratch)
        save_lists(found, folder / "lists")
        return {"units": len(vectors), "queries": len(queries), "shards": done}

    key = {
        "version": NEIGHBOURS_VERSION,
        "embeddings": embeddings.digest,
        # Clusters made elsewhere may differ in a row: what they hold counts, not how many.
        "units": "instance" if granularity == "instance" else units_digest(pool.units),
        "end": end,
        "depth": neighbours.depth,
    }
    return store.build("neighbours", key, make)


def load_space(pool: Pool, artifact: Artifact, end: End) -> PoolSpace:
    """Distances from one end of the pool, for the arrangement."""
    assert pool.vectors is not None, "embeddings without vectors"
    assert pool.queries is not None, "embeddings without queries"
    lists = load_lists(artifact.path / "lists")
    return PoolSpace(pool.queries, pool.vectors, lists, farthest=end == "far")


def save_lists(lists: Candidates, folder: Path) -> None:
    """One array a file, so that readers map them instead of loading them."""
    folder.mkdir()
    for field in FIELDS:
        np.save(folder / f"{field}.npy", getattr(lists, field))


def load_lists(folder: Path) -> Candidates:
    """What `save_lists` wrote, memory-mapped."""
    return Candidates(*(load_array(folder / f"{field}.npy") for field in FIELDS))
