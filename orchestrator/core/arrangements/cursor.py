"""Walks down the ranked lists of all queries, past what is taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.lists import NeighbourLists


class Cursor:
    """Each query's nearest unit that is not taken.

    Args:
        lists: from the end of the pool that is walked from.
        taken: (units,) bool; the caller marks units in it as it takes them.
    """

    def __init__(self, lists: NeighbourLists, taken: NDArray[np.bool_]) -> None:
        self._lists = lists
        self._taken = taken
        self._units = np.empty((lists.queries, 0), np.int64)
        self._distances = np.empty((lists.queries, 0), np.float64)
        self._lengths = np.zeros(lists.queries, np.int64)
        self._pointer = np.zeros(lists.queries, np.int64)

    def heads(self, queries: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest free unit of each of some queries, and its distance.

        Args:
            queries: (n,) int64 distinct queries. At least one unit must be free.
        """
        self._skip_taken(queries)
        while len(used_up := queries[self._pointer[queries] >= self._lengths[queries]]):
            self._read_on(used_up)
        at = self._pointer[queries]
        return self._units[queries, at], self._distances[queries, at]

    def first(self, query: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest free units of one query and their distances: `count` of them, or all.

        Fewer where memory holds no lists as long.
        """
        at = self._free_ahead(query)
        if len(at) < count:
            wanted = min(count, int(np.count_nonzero(~self._taken)), self._lists.deepest)
            while len(at) < wanted:
                self._read_on(np.array([query]), wanted)
                at = self._free_ahead(query)
        return self._units[query, at[:count]], self._distances[query, at[:count]]

    def _free_ahead(self, query: int) -> NDArray[np.int64]:
        """Places of a query's list, from its pointer on, of units that are not taken."""
        first, end = int(self._pointer[query]), int(self._lengths[query])
        return first + np.flatnonzero(~self._taken[self._units[query, first:end]])

    def _read_on(self, queries: NDArray[np.int64], at_least: int = 1) -> None:
        fresh = self._lists.nearest(queries, self._taken, at_least)
        width = fresh.units.shape[1]
        if width > self._units.shape[1]:
            grown = ((0, 0), (0, width - self._units.shape[1]))
            self._units = np.pad(self._units, grown)
            self._distances = np.pad(self._distances, grown)
        self._units[queries, :width] = fresh.units
        self._distances[queries, :width] = fresh.distances
        self._lengths[queries] = fresh.lengths
        self._pointer[queries] = 0

    def _skip_taken(self, queries: NDArray[np.int64]) -> None:
        """Move each pointer to the first entry that is not taken, or past the list."""
        live = queries[self._pointer[queries] < self._lengths[queries]]
        while len(live):
            live = live[self._taken[self._units[live, self._pointer[live]]]]
            self._pointer[live] += 1
            live = live[self._pointer[live] < self._lengths[live]]
