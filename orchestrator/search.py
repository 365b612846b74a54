"""Exact nearest-neighbour search behind the ranked lists: FAISS proposes, `core.ranking` proves.

Flat (exhaustive) indexes only: an arrangement claims to be exact.
"""

from __future__ import annotations

from functools import partial

import faiss
import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Floats, RankedLists, certify


def search(
    queries: Floats, vectors: Floats, depth: int, *, offset: int = 0, farthest: bool = False
) -> RankedLists:
    """Ranked lists of the queries over one shard of the pool's units.

    Args:
        queries: (queries, d) float32 unit vectors.
        vectors: (units, d) float32 unit vectors.
        depth: entries wanted of each list.
        offset: number of the shard's first unit.
        farthest: rank from the far end; distances are then negated.
    """
    if farthest:
        queries = -queries
    depth = min(depth, len(vectors))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    _, candidates = index.search(np.ascontiguousarray(queries, dtype=np.float32), depth)
    return certify(queries, vectors, candidates, offset=offset)


class PoolSpace:
    """Distances between queries and units from one end, with ranked lists made beforehand.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors.
        lists: ranked lists of all queries over all units, from the same end.
        farthest: the end.
    """

    def __init__(
        self, queries: Floats, vectors: Floats, lists: RankedLists, *, farthest: bool
    ) -> None:
        self._queries = queries
        self._vectors = vectors
        self._lists = lists
        self._search = partial(search, farthest=farthest)

    def lists(self) -> RankedLists:
        return self._lists

    def refill(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> RankedLists:
        """Search some queries again, among the units that are left only."""
        left = np.flatnonzero(~taken)
        vectors = self._vectors[left]
        depth = self._lists.units.shape[1]
        while True:
            found = self._search(self._queries[queries], vectors, depth)
            # Only more ties than the list is deep leave a list without a proved entry.
            if found.lengths.min() > 0:
                units = np.where(found.units >= 0, left[found.units], -1)
                return RankedLists(units, found.distances, found.bound)
            depth *= 4
