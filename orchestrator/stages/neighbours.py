"""Stage 3: ranked lists, searched shard by shard through Ray Data and merged exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import ray.data

from orchestrator.artifacts import Artifact, build
from orchestrator.config.schema import Neighbours
from orchestrator.core.ranking import Floats, RankedLists, merge
from orchestrator.core.units import Units, groups, instances, unit_vectors
from orchestrator.screen import Line
from orchestrator.search import PoolSpace, search

NEIGHBOURS_VERSION = 1
ENDS = ("near", "far")
FIELDS = ("units", "distances", "bound")


def build_neighbours(
    dataset: Artifact,
    embeddings: Artifact,
    granularity: str,
    neighbours: Neighbours,
    store: Path,
    line: Line,
) -> Artifact:
    """Ranked lists of the query set over the pool's units, from either end."""

    def make(folder: Path) -> dict[str, int]:
        units = load_units(dataset, granularity)
        pool, queries = _split(dataset, embeddings)
        vectors = unit_vectors(pool, units)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "vectors.npy", vectors)
        shards = folder / "shards"
        shards.mkdir()
        done = 0
        for _ in _search_shards(folder, shards, len(units), neighbours):
            done += 1
            line.update(done, "shards")
        for end in ENDS:
            parts = [load_lists(path) for path in sorted(shards.glob(f"{end}-*"))]
            save_lists(merge(parts, neighbours.depth), folder / end)
        for path in [*shards.glob("*/*"), *shards.glob("*"), shards]:
            path.unlink() if path.is_file() else path.rmdir()
        return {"units": len(units), "queries": len(queries), "shards": done}

    key = {
        "version": NEIGHBOURS_VERSION,
        "dataset": dataset.digest,
        "embeddings": embeddings.digest,
        "granularity": granularity,
        "depth": neighbours.depth,
    }
    return build(store, "neighbours", key, make)


def load_space(artifact: Artifact, *, farthest: bool) -> PoolSpace:
    """Distances from one end of the pool, for the arrangement."""
    queries, vectors = (
        np.load(artifact.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("queries", "vectors")
    )
    lists = load_lists(artifact.path / ("far" if farthest else "near"))
    return PoolSpace(queries, vectors, lists, farthest=farthest)


def load_units(dataset: Artifact, granularity: str) -> Units:
    """The units of the pool's rows at a granularity."""
    count = dataset.info["splits"]["pool"]["instances"]
    if granularity == "instance":
        return instances(count)
    tasks = pq.read_table(dataset.path / "instances.parquet", columns=["task"])["task"]
    labels = tasks.slice(0, count).combine_chunks().dictionary_encode()
    return groups(labels.indices.to_numpy().astype(np.int64))


def save_lists(lists: RankedLists, folder: Path) -> None:
    """One array a file, so that readers map them instead of loading them."""
    folder.mkdir()
    for field in FIELDS:
        np.save(folder / f"{field}.npy", getattr(lists, field))


def load_lists(folder: Path) -> RankedLists:
    """What `save_lists` wrote, memory-mapped."""
    return RankedLists(
        *(np.load(folder / f"{field}.npy", mmap_mode="r", allow_pickle=False) for field in FIELDS)
    )


def _split(dataset: Artifact, embeddings: Artifact) -> tuple[Floats, Floats]:
    vectors = np.load(embeddings.path / "vectors.npy", mmap_mode="r", allow_pickle=False)
    pool = dataset.info["splits"]["pool"]["instances"]
    return vectors[:pool], vectors[pool:]


def _search_shards(folder: Path, shards: Path, units: int, neighbours: Neighbours) -> Any:
    """One Ray Data task a shard; each writes its lists beside the others."""
    cores = int(ray.cluster_resources().get("CPU", 1))
    threads = max(1, cores // neighbours.workers)
    size, depth = neighbours.shard_rows, neighbours.depth

    def search_shard(item: dict[str, int]) -> dict[str, int]:
        faiss.omp_set_num_threads(threads)
        start = item["start"]
        queries = np.load(folder / "queries.npy", mmap_mode="r", allow_pickle=False)
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        part = vectors[start : start + size]
        for end in ENDS:
            lists = search(queries, part, depth, offset=start, farthest=end == "far")
            save_lists(lists, shards / f"{end}-{start:015d}")
        return item

    starts = [{"start": start} for start in range(0, units, size)]
    dataset = ray.data.from_items(starts, override_num_blocks=len(starts))
    mapped = dataset.map(search_shard, compute=ray.data.TaskPoolStrategy(size=neighbours.workers))
    return mapped.iter_rows()
