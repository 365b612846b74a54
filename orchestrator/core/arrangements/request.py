"""What a method is told, and how it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.bigrams import Bigrams
from orchestrator.core.plan import Plan
from orchestrator.core.ranking import Floats, RankedLists
from orchestrator.core.units import Units


class Space(Protocol):
    """Distances between the queries and the units, from one end of the pool."""

    @property
    def queries(self) -> int:
        """How many queries there are."""
        ...

    def nearest(self, queries: NDArray[np.int64], taken: NDArray[np.bool_]) -> RankedLists:
        """The next entries of some queries' lists, without the units that are taken.

        A list may come back without a proved entry; asked again it holds more.
        """
        ...


@dataclass(frozen=True)
class Request:
    """A pool, what is known of it, and the settings of the `arrangement` section.

    Attributes:
        units: the partition of the pool that is moved.
        groups: the partition that `round_robin` and `cluster` deal from: the tasks, or the
            clusters where the granularity is clusters.
        vectors: (units, d) float32 unit vectors, perhaps memory-mapped; None for a method that
            does not embed.
        queries: (queries, d) float32 unit vectors; None likewise.
        near: distances from the near end; None likewise.
        far: distances from the far end (negated: the farthest unit has the least value).
        bigrams: counts of the units' and of the queries' bigrams; None where there is no text.
        seed: of every random choice.
        selection, order, rows, turns, turn_window, cut, within_turn, measure: as in the study.
        options: the method's own settings, its defaults filled in.
    """

    units: Units
    groups: Units
    vectors: Floats | None = None
    queries: Floats | None = None
    near: Space | None = None
    far: Space | None = None
    bigrams: Callable[[], tuple[Bigrams, Bigrams]] | None = None
    seed: int = 0
    selection: str = "all"
    order: str = "nearest_first"
    rows: int | None = None
    turns: int | None = None
    turn_window: tuple[int, int] | None = None
    cut: bool = True
    within_turn: str = "row"
    measure: str = "cosine_min"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """A method as the table names it.

    Attributes:
        arrange: makes the plan.
        reads: keys of the `arrangement` section that it looks at, beside `method` and `rows`.
            Others are refused in a study, so that no setting is without effect unseen.
        embeds: whether it looks at vectors or distances.
        deals: whether it deals from `Request.groups`, so that it needs tasks or clusters.
        distance: what the distances of its plans are, the title of their axis; plans whose titles
            are equal share an axis. `{measure}` and other keys of the section in braces stand for
            their values. Empty where its plans have no distances.
        options: its own settings under `arrangement.options`, with their defaults.
    """

    arrange: Callable[[Request], Plan]
    reads: frozenset[str] = frozenset()
    embeds: bool = True
    deals: bool = False
    distance: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
