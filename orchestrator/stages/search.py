"""Exact nearest-neighbour search: FAISS proposes in float32, `core.ranking` proves.

Flat (exhaustive) search only: an arrangement claims to be exact. FAISS is given the pool in
blocks that stay where they are (memory-mapped, or in another process), and only ranked lists are
kept: memory is O(queries x depth + block).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import (
    Candidates,
    Floats,
    RankedLists,
    certify,
    distances_to,
    merge,
)

# Rows that are looked at at once where some of them have to be copied.
BLOCK_ROWS = 65_536
GPU_DEPTH = 2048  # the longest lists that FAISS makes on a GPU
# Lists grow while they are used up, all of them together to this many bytes.
LIST_BYTES = 256 * 2**20


def search(
    queries: Floats, vectors: Floats, depth: int, *, offset: int = 0, farthest: bool = False
) -> Candidates:
    """The nearest units of one shard for each query.

    Args:
        queries: (queries, d) float32 unit vectors.
        vectors: (units, d) float32 unit vectors, perhaps memory-mapped.
        depth: entries wanted of each list.
        offset: number of the shard's first unit.
        farthest: rank from the far end; distances are then negated.
    """
    wanted = np.ascontiguousarray(-queries if farthest else queries, dtype=np.float32)
    shard = np.ascontiguousarray(vectors, dtype=np.float32)
    depth = min(depth, len(shard))
    if _gpu() and depth <= GPU_DEPTH:
        found = faiss.knn_gpu(_gpu(), wanted, shard, depth, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        found = faiss.knn(wanted, shard, depth, metric=faiss.METRIC_INNER_PRODUCT)
    distances = -found[0]
    complete = depth == len(shard)
    bound = np.full(len(wanted), np.inf, np.float32) if complete else distances[:, -1].copy()
    return Candidates(found[1].astype(np.int64) + offset, distances, bound)


def search_left(
    queries: Floats,
    vectors: Floats,
    depth: int,
    *,
    taken: NDArray[np.bool_] | None = None,
    farthest: bool = False,
) -> Candidates:
    """`search` over the units of a whole pool that are not taken, in this process.

    Args:
        taken: (units,) bool; None: none is.
    """
    if taken is None:
        return search(queries, vectors, depth, farthest=farthest)
    found: Candidates | None = None
    for start in range(0, len(vectors), BLOCK_ROWS):
        left = np.flatnonzero(~taken[start : start + BLOCK_ROWS])
        if not len(left):
            continue
        part = search(queries, vectors[start : start + BLOCK_ROWS][left], depth, farthest=farthest)
        part = replace(part, units=left[part.units] + start)
        found = part if found is None else merge([found, part], depth)
    assert found is not None, "somebody asked for the neighbours among no units"
    return found


def kmeans_labels(vectors: Floats, clusters: int, seed: int) -> NDArray[np.int64]:
    """The k-means cluster of each row, by cosine.

    Args:
        vectors: (rows, d) float32 unit vectors, perhaps memory-mapped.
        clusters: how many centres; at most as many as rows.
        seed: of the rows that are sampled (256 a cluster at most) and of the first centres.

    Returns:
        (rows,) int64 from 0 to `clusters` - 1; a cluster may have no row.
    """
    sampled = min(len(vectors), 256 * clusters)
    rows = np.random.default_rng(seed).choice(len(vectors), sampled, replace=False)
    means = faiss.Kmeans(
        vectors.shape[1], clusters, niter=25, spherical=True, seed=seed, min_points_per_centroid=1
    )
    means.train(np.ascontiguousarray(vectors[np.sort(rows)], dtype=np.float32))
    assert means.centroids is not None, "trained above"
    return nearest_of(vectors, means.centroids)[0]


def nearest_of(vectors: Floats, targets: Floats) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The target of the largest cosine for each vector, block by block.

    Args:
        vectors: (rows, d) float32 unit vectors, perhaps memory-mapped.
        targets: (targets, d) float32 unit vectors.

    Returns:
        (rows,) int64 targets and (rows,) float32 cosines.
    """
    nearest = np.empty(len(vectors), np.int64)
    cosine = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found = search(vectors[block], targets, 1)
        nearest[block], cosine[block] = found.units[:, 0], -found.distances[:, 0]
    return nearest, cosine


class PoolSpace:
    """Distances between queries and units from one end.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors, perhaps memory-mapped.
        candidates: lists of all queries over all units, from the same end.
        farthest: the end.
    """

    def __init__(
        self, queries: Floats, vectors: Floats, candidates: Candidates, *, farthest: bool
    ) -> None:
        self._wanted = -queries if farthest else queries
        self._vectors = vectors
        self._units = np.array(candidates.units)
        self._distances = np.array(candidates.distances)
        self._bound = np.array(candidates.bound)
        depth = self._units.shape[1]
        self._depth = np.full(len(queries), depth)
        self._deepest = max(depth, LIST_BYTES // (12 * len(queries)))
        self._width = np.full(len(queries), max(1, depth // 32))

    @property
    def queries(self) -> int:
        return len(self._wanted)

    def nearest(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> RankedLists:
        """The next entries of some queries' lists, without the units that are taken.

        Only a query whose list is used up is searched again, among what is left, and each time
        twice as deep: a query that met many taken units meets more of them. A list comes back
        without a proved entry where more units tie than it holds; asked again, it is longer.

        Args:
            queries: (n,) int64.
            taken: (units,) bool, at least one False.
        """
        free = self._free(queries, taken)
        short = (free.sum(axis=1) < self._width[queries]) & np.isfinite(self._bound[queries])
        if short.any():
            self._search_again(queries[short], taken)
            free = self._free(queries, taken)
        found = certify(self._wanted[queries], self._vectors, self._next(queries, free))
        unproved = queries[found.lengths == 0]
        stuck = unproved[self._width[unproved] >= self._deepest]
        if len(stuck):
            return self._scan(int(stuck[0]), queries, taken)
        self._width[unproved] = np.minimum(2 * self._width[unproved], self._deepest)
        return found

    def _scan(
        self, query: int, queries: NDArray[np.int64], taken: NDArray[np.bool_]
    ) -> RankedLists:
        """The list of one query, by its distance in float64 to every free unit.

        For a query with more near ties than the longest list holds: float32 cannot rank them.
        The lists of the other queries come back empty.
        """
        distances = np.full(len(taken), np.inf)
        for start in range(0, len(taken), BLOCK_ROWS):
            free = np.flatnonzero(~taken[start : start + BLOCK_ROWS]) + start
            wanted = self._wanted[query : query + 1]
            distances[free] = distances_to(wanted, self._vectors, free[None])[0]
        width = min(self._deepest, int((~taken).sum()))
        units = np.argsort(distances, kind="stable")[:width]
        at = np.flatnonzero(queries == query)[0]
        found = RankedLists(
            np.full((len(queries), width), -1),
            np.full((len(queries), width), np.inf),
            np.zeros(len(queries), np.int64),
        )
        found.units[at], found.distances[at], found.lengths[at] = units, distances[units], width
        return found

    def _free(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
        units = self._units[queries]
        return (units >= 0) & ~taken[units]

    def _next(self, queries: NDArray[np.int64], free: NDArray[np.bool_]) -> Candidates:
        """The first free entries of each list; the entry after them is their bound."""
        rank = np.cumsum(free, axis=1)
        width = self._width[queries, None]
        at = np.argsort(~(free & (rank <= width)), axis=1, kind="stable")[:, : int(width.max())]
        units = np.take_along_axis(self._units[queries], at, axis=1)
        distances = np.take_along_axis(self._distances[queries], at, axis=1)
        beyond = np.arange(at.shape[1]) >= np.minimum(rank[:, -1:], width)
        units[beyond], distances[beyond] = -1, np.inf
        after = np.where(free & (rank == width + 1), self._distances[queries], np.inf).min(axis=1)
        return Candidates(units, distances, np.minimum(after, self._bound[queries]))

    def _search_again(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> None:
        self._depth[queries] = np.minimum(2 * self._depth[queries], self._deepest)
        depth = int(self._depth[queries].max())
        found = search_left(self._wanted[queries], self._vectors, depth, taken=taken)
        wider = found.units.shape[1] - self._units.shape[1]
        if wider > 0:
            self._units = np.pad(self._units, ((0, 0), (0, wider)), constant_values=-1)
            self._distances = np.pad(self._distances, ((0, 0), (0, wider)), constant_values=np.inf)
        self._units[queries] = -1
        self._units[queries, : found.units.shape[1]] = found.units
        self._distances[queries, : found.units.shape[1]] = found.distances
        self._bound[queries] = found.bound


@cache
def _gpu() -> Any:
    """FAISS's memory on the GPU; None where there is none, or FAISS was not built for it."""
    return faiss.StandardGpuResources() if faiss.get_num_gpus() else None
