"""The ranked lists of all queries, which grow where an arrangement has used them up.

A list of the neighbours stage holds the first units of a query's ranking. An arrangement that
takes units away may need those behind them: they are searched here, among what is left, for the
queries that need them alone. Whole pools are searched by the stage, shard by shard with FAISS.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import (
    Candidates,
    End,
    Floats,
    RankedLists,
    certify,
    distances_to,
    merge,
    seen_from,
)

BLOCK_BYTES = 2**26  # of distances that are looked at at once
# Lists grow while they are used up, all of them together to this many bytes.
LIST_BYTES = 256 * 2**20


class NeighbourLists:
    """Units by rising distance to each query, from one end of the pool.

    Args:
        queries: (queries, d) unit vectors.
        vectors: (units, d) unit vectors, perhaps memory-mapped.
        candidates: lists of all queries over all units, from that end.
        end: of the pool.

    Attributes:
        deepest: entries that a list holds at most.
    """

    def __init__(self, queries: Floats, vectors: Floats, candidates: Candidates, end: End) -> None:
        self._wanted = seen_from(end, queries)
        self._vectors = vectors
        self._units = np.array(candidates.units)
        self._distances = np.array(candidates.distances)
        self._bound = np.array(candidates.bound)
        depth = self._units.shape[1]
        self._depth = np.full(len(queries), depth)
        self.deepest = max(depth, LIST_BYTES // (12 * len(queries)))
        self._width = np.full(len(queries), max(1, depth // 32))

    @property
    def queries(self) -> int:
        return len(self._wanted)

    def nearest(
        self, queries: NDArray[np.int64], taken: NDArray[np.bool_], at_least: int = 1
    ) -> RankedLists:
        """The next entries of some queries' lists, without the units that are taken.

        Only a query whose list is used up is searched again, among what is left, and each time
        twice as deep: a query that met many taken units meets more of them. A list comes back
        with too few proved entries where more units tie than it holds; asked again, it is longer.

        Args:
            queries: (n,) int64.
            taken: (units,) bool, at least one False.
            at_least: proved entries that are wanted of each list; no more than units are free.
        """
        at_least = min(at_least, self.deepest)
        # Room behind them, as the last entries of a list are seldom proved.
        wider = np.maximum(self._width[queries], 2 * at_least - 1)
        self._width[queries] = np.minimum(wider, self.deepest)
        free = self._free(queries, taken)
        short = (free.sum(axis=1) < self._width[queries]) & np.isfinite(self._bound[queries])
        if short.any():
            self._search_again(queries[short], taken)
            free = self._free(queries, taken)
        lists = certify(self._wanted[queries], self._vectors, self._next(queries, free))
        unproved = queries[lists.lengths < at_least]
        stuck = unproved[self._width[unproved] >= self.deepest]
        if len(stuck):
            return self._scan(int(stuck[0]), queries, taken)
        self._width[unproved] = np.minimum(2 * self._width[unproved], self.deepest)
        return lists

    def _scan(
        self, query: int, queries: NDArray[np.int64], taken: NDArray[np.bool_]
    ) -> RankedLists:
        """The list of one query, by its distance in float64 to every free unit.

        For a query with more near ties than the longest list holds: float32 cannot rank them.
        The lists of the other queries come back empty.
        """
        distances = np.full(len(taken), np.inf)
        rows = BLOCK_BYTES // (8 * self._vectors.shape[1])  # copied as float64
        for start in range(0, len(taken), rows):
            free = np.flatnonzero(~taken[start : start + rows]) + start
            wanted = self._wanted[query : query + 1]
            distances[free] = distances_to(wanted, self._vectors, free[None])[0]
        width = min(self.deepest, int((~taken).sum()))
        units = np.argsort(distances, kind="stable")[:width]
        at = np.flatnonzero(queries == query)[0]
        lists = RankedLists(
            np.full((len(queries), width), -1),
            np.full((len(queries), width), np.inf),
            np.zeros(len(queries), np.int64),
        )
        lists.units[at], lists.distances[at], lists.lengths[at] = units, distances[units], width
        return lists

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
        self._depth[queries] = np.minimum(2 * self._depth[queries], self.deepest)
        depth = int(self._depth[queries].max())
        fresh = search_free(self._wanted[queries], self._vectors, depth, taken)
        wider = fresh.units.shape[1] - self._units.shape[1]
        if wider > 0:
            self._units = np.pad(self._units, ((0, 0), (0, wider)), constant_values=-1)
            self._distances = np.pad(self._distances, ((0, 0), (0, wider)), constant_values=np.inf)
        self._units[queries] = -1
        self._units[queries, : fresh.units.shape[1]] = fresh.units
        self._distances[queries, : fresh.units.shape[1]] = fresh.distances
        self._bound[queries] = fresh.bound


def search_free(
    queries: Floats, vectors: Floats, depth: int, taken: NDArray[np.bool_]
) -> Candidates:
    """The nearest units of each query that are not taken, by float32 inner products.

    Block by block on the CPU, without FAISS: it is asked for a few queries whose lists are used up.

    Args:
        queries: (queries, d) unit vectors, negated for the far end.
        vectors: (units, d) float32 unit vectors, perhaps memory-mapped.
        depth: entries wanted of each list.
        taken: (units,) bool, at least one False.
    """
    wanted = np.asarray(queries, np.float32)
    lists: list[Candidates] = []
    # A block holds its vectors, and their distances to the queries.
    rows = max(1, BLOCK_BYTES // (4 * (len(queries) + vectors.shape[1])))
    for start in range(0, len(vectors), rows):
        free = np.flatnonzero(~taken[start : start + rows]) + start
        if not len(free):
            continue
        distances: NDArray[np.float32] = -(wanted @ np.asarray(vectors[free], np.float32).T)
        width = min(depth, len(free))
        nearest = np.argpartition(distances, width - 1, axis=1)[:, :width]
        distances = np.take_along_axis(distances, nearest, axis=1)
        # Of a block that is listed whole, nothing is left that could be nearer.
        bound = distances.max(axis=1, initial=np.inf if width == len(free) else -np.inf)
        part = Candidates(free[nearest], distances, bound)
        lists = [merge([*lists, part], depth)]  # and in rising order
    return lists[0]
