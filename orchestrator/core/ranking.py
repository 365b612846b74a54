"""Ranked lists: for each query the nearest units first, exact and independent of sharding.

A distance is minus the cosine of two unit vectors, summed in float64 one pair at a time, so
that a pair has the same distance in every shard and exact duplicates tie exactly. A fast search
in float32 only proposes candidates. `certify` re-ranks as many of them as are needed and states
how far down the list provably misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
# Of the pool: lists are ranked from the nearest units, or from the farthest with distances negated.
End = Literal["near", "far"]

# Of the candidates' vectors that are gathered at once: more would not stay in the cache.
BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Candidates:
    """What a float32 search proposes, one list a query, in rising order of float32 distance.

    Attributes:
        units: (queries, depth) int64, -1 where a list is shorter.
        distances: (queries, depth) float32, +inf where a list is shorter.
        bound: (queries,) float32; no unit outside the list is nearer than this by float32 (+inf:
            the list holds all units).
    """

    units: NDArray[np.int64]
    distances: NDArray[np.float32]
    bound: NDArray[np.float32]


@dataclass(frozen=True)
class RankedLists:
    """Units by rising distance, ties by rising unit number, one list a query.

    Attributes:
        units: (queries, width) int64, -1 where a list is shorter.
        distances: (queries, width) float64, +inf where a list is shorter.
        lengths: (queries,) int64; so many entries are proved to be the nearest ones.
    """

    units: NDArray[np.int64]
    distances: NDArray[np.float64]
    lengths: NDArray[np.int64]


def seen_from(end: End, queries: Floats) -> Floats:
    """The queries as a search for the least distance wants them: negated from the far end."""
    return queries if end == "near" else -queries


def merge(parts: Sequence[Candidates], depth: int) -> Candidates:
    """The candidates of the union of disjoint shards.

    Args:
        parts: lists of the same queries over disjoint sets of units.
        depth: entries to keep of each list.
    """
    units = np.concatenate([part.units for part in parts], axis=1)
    distances = np.concatenate([part.distances for part in parts], axis=1)
    bound = np.min([part.bound for part in parts], axis=0)
    order = np.argsort(distances, axis=1, kind="stable")
    if order.shape[1] > depth:
        first_dropped = np.take_along_axis(distances, order[:, depth : depth + 1], axis=1)[:, 0]
        bound = np.minimum(bound, first_dropped)
        order = order[:, :depth]
    return Candidates(
        np.take_along_axis(units, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
        bound,
    )


def certify(queries: Floats, vectors: Floats, candidates: Candidates) -> RankedLists:
    """Re-rank candidates, and prove how much of the list is complete.

    A unit outside the list is, in float64, farther than the list's bound less the largest error
    of float32. So the entries nearer than that are the nearest ones of all.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors that `candidates.units` numbers.
    """
    units = candidates.units
    distances = distances_to(queries, vectors, units)
    key = np.where(units >= 0, units, np.iinfo(np.int64).max)
    order = np.lexsort((key, distances), axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    error = float32_error(vectors.shape[1])
    proved = distances < (candidates.bound.astype(np.float64) - error)[:, None]
    return RankedLists(np.take_along_axis(units, order, axis=1), distances, proved.sum(axis=1))


def float32_error(dimensions: int) -> float:
    """How far a float32 inner product of two unit vectors may be off, in whatever order it sums.

    d 2**-24 bounds the rounding of d products and sums (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1), to first order; twice that leaves room for the rest.
    """
    return float(dimensions * 2.0**-23)


def distances_to(queries: Floats, vectors: Floats, units: NDArray[np.int64]) -> NDArray[np.float64]:
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
