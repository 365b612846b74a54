"""What a method is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import RankedLists
from orchestrator.core.units import Units


class Space(Protocol):
    """Distances between the queries and the units, from one end of the pool."""

    def lists(self) -> RankedLists:
        """Ranked lists of all queries over all units."""
        ...

    def refill(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> RankedLists:
        """Ranked lists of some queries over the units not yet taken, each with at least one
        proved entry."""
        ...


@dataclass(frozen=True)
class Request:
    """A pool, its distances to the queries, and a budget.

    Attributes:
        units: the partition of the pool that is moved.
        near: distances from the near end; None for methods that look at none.
        far: distances from the far end (negated: the farthest unit has the least value).
        seed: of every random choice.
        selection, order, rows, turns, cut, within_turn: as in the study file.
    """

    units: Units
    near: Space | None
    far: Space | None
    seed: int = 0
    selection: str = "all"
    order: str = "nearest_first"
    rows: int | None = None
    turns: int | None = None
    cut: bool = True
    within_turn: str = "row"
