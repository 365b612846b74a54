"""Ranked lists: for each query the nearest units first, exact and independent of sharding.

A distance is minus the cosine of two unit vectors, summed in float64 one pair at a time, so
that a pair has the same distance in every shard and exact duplicates tie exactly. A fast search
in float32 only proposes candidates: `certify` re-ranks them and states how far down the list
provably misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

# Largest error of a float32 inner product of unit vectors of d <= 8192 components, with room.
FLOAT32_ERROR = 1e-4
# Rows of the candidate block that is gathered at once: bounds the memory of a re-ranking.
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RankedLists:
    """Units by rising distance, ties by rising unit number, one list a query.

    Attributes:
        units: (queries, depth) int64, -1 where a list is shorter.
        distances: (queries, depth) float64, +inf where a list is shorter.
        bound: (queries,) float64; every unit nearer than this is in the list (+inf: all are).
    """

    units: NDArray[np.int64]
    distances: NDArray[np.float64]
    bound: NDArray[np.float64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(queries,) int64: how many entries of each list are proved to be the nearest ones."""
        return np.asarray((self.distances < self.bound[:, None]).sum(axis=1), dtype=np.int64)


def distances_to(queries: Floats, vectors: Floats, units: NDArray[np.int64]) -> Floats:
    """Distance of each query to its own candidates.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors.
        units: (queries, k) int64 candidates; -1 gives +inf.

    Returns:
        (queries, k) float64.
    """
    result = np.full(units.shape, np.inf, dtype=np.float64)
    step = max(1, BLOCK_BYTES // (units.shape[1] * vectors.shape[1] * 8 + 1))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        gathered = vectors[np.maximum(units[block], 0)].astype(np.float64)
        gathered *= queries[block, None, :]
        # A sum over the last, contiguous axis has one summation order whatever the block.
        result[block] = -gathered.sum(axis=2)
    result[units < 0] = np.inf
    return result


def certify(
    queries: Floats, vectors: Floats, candidates: NDArray[np.int64], *, offset: int = 0
) -> RankedLists:
    """Re-rank what a float32 search proposes, and prove how much of it is complete.

    A unit that the search left out was, by float32, no nearer than the last one proposed; in
    float64 it is therefore farther than that one's distance less twice the float32 error.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors of the shard that was searched.
        candidates: (queries, k) int64 positions in the shard; -1 fills short lists.
        offset: number of the shard's first unit.
    """
    found = distances_to(queries, vectors, candidates)
    complete = (candidates >= 0).sum(axis=1) >= len(vectors)
    farthest = np.where(np.isfinite(found), found, -np.inf).max(axis=1, initial=-np.inf)
    bound = np.where(complete, np.inf, farthest - 2 * FLOAT32_ERROR)
    units = np.where(candidates >= 0, candidates + offset, -1)
    return _sorted(units, found, bound, depth=candidates.shape[1])


def merge(parts: Sequence[RankedLists], depth: int) -> RankedLists:
    """The ranked lists of the union of disjoint shards.

    Args:
        parts: lists of the same queries over disjoint sets of units.
        depth: entries to keep of each list.

    Returns:
        Exactly what one list over all shards would hold, as far as its bound proves.
    """
    units = np.concatenate([part.units for part in parts], axis=1)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    bound = np.min([part.bound for part in parts], axis=0)
    return _sorted(units, distances, bound, depth)


def _sorted(
    units: NDArray[np.int64], distances: Floats, bound: NDArray[np.float64], depth: int
) -> RankedLists:
    key = np.where(units >= 0, units, np.iinfo(np.int64).max)
    order = np.lexsort((key, distances), axis=1)
    units = np.take_along_axis(units, order, axis=1)
    distances = np.take_along_axis(np.asarray(distances, dtype=np.float64), order, axis=1)
    if units.shape[1] > depth:
        # Units tied with the first one dropped may lie on both sides of the cut.
        dropped = distances[:, depth]
        bound = np.minimum(bound, dropped)
        units, distances = units[:, :depth], distances[:, :depth]
    return RankedLists(units, distances, bound)
