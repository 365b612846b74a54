"""What a method is asked, what it needs for that, and how it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.bigrams import Bigrams
from orchestrator.core.lists import NeighbourLists
from orchestrator.core.plan import Plan
from orchestrator.core.quadratic import Influence
from orchestrator.core.ranking import Candidates, End, Floats
from orchestrator.core.units import Units


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the `arrangement` section.

    Attributes:
        seed: of every random choice.
        selection, order, rows, per_task, answer_tokens, equal_lengths, turns, turn_window, cut,
            within_turn, measure: as in the study; a method need heed neither answer_tokens nor
            equal_lengths, under which it is asked with other `rows`.
        options: the method's own settings, its defaults filled in.
    """

    seed: int = 0
    selection: str = "all"
    order: str = "nearest_first"
    rows: int | None = None
    per_task: int | None = None
    answer_tokens: int | None = None
    equal_lengths: bool = False
    turns: int | None = None
    turn_window: tuple[int, int] | None = None
    cut: bool = True
    within_turn: str = "row"
    measure: str = "cosine_min"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request(Settings):
    """A pool and what is known of it, beside the settings.

    Attributes:
        units: the partition of the pool that is moved.
        groups: the partition that `round_robin` and `cluster` deal from, and each part of which
            gives `per_task` rows: the tasks, or the clusters where the granularity is clusters.
        vectors: (units, d) float32 unit vectors, perhaps memory-mapped; None for a method that
            does not embed.
        queries: (queries, d) float32 unit vectors; None likewise.
        neighbours: ranked lists of all queries over all units, from each end that the method
            needs.
        bigrams: counts of the units' and of the queries' bigrams; None where the method does not
            need them, or there is no text.
        listed: (n,) int64, distinct rows that the file at `options.path` names, in its order; None
            where the method does not need them.
        answers: (rows,) int64, tokens of each row's answers; None where they are not needed, or
            there is no text.
        losses: (queries,) float64, the loss of the untouched model on each query in nats, NaN where
            its answer was cut away; None where they are not needed, or there is no model.
        influence: of the pool's rows on the queries; None where the method does not need it, or
            there is no model that is trained.
    """

    units: Units
    groups: Units
    vectors: Floats | None = None
    queries: Floats | None = None
    neighbours: Mapping[End, Candidates] = field(default_factory=dict)
    bigrams: tuple[Bigrams, Bigrams] | None = None
    listed: NDArray[np.int64] | None = None
    answers: NDArray[np.int64] | None = None
    losses: NDArray[np.float64] | None = None
    influence: Influence | None = None

    def lists(self, end: End) -> NeighbourLists:
        """The ranked lists from one end of the pool, which grow where they are used up.

        Raises:
            ValueError: the request has none from that end.
        """
        if self.vectors is None or self.queries is None or end not in self.neighbours:
            raise ValueError(
                "this method needs the distances between queries and pool: let its Method say "
                f"needs=lambda settings: Needs(ends=({end!r},))"
            )
        return NeighbourLists(self.queries, self.vectors, self.neighbours[end], end)


@dataclass(frozen=True)
class Needs:
    """What has to be made for a method before it is called.

    Attributes:
        ends: of the pool, from which it walks ranked lists.
        bigrams: whether it looks at the bigrams of texts.
        listed: whether it takes the rows that the file at its option `path` names by their ids.
        answers: whether it looks at how many tokens answers have.
        losses: whether it looks at the untouched model's losses of the queries, where there is one.
        influence: whether it foresees what training on rows does to the losses of the queries.
    """

    ends: tuple[End, ...] = ()
    bigrams: bool = False
    listed: bool = False
    answers: bool = False
    losses: bool = False
    influence: bool = False


def needs_nothing(settings: Settings) -> Needs:
    """What is needed by a method that looks at vectors at most."""
    return Needs()


def always(settings: Settings) -> bool:
    """Says that a method draws, also of one of which nobody knows."""
    return True


def where_random(settings: Settings) -> bool:
    """Says of a method that it draws what the settings want random, and nothing else."""
    return "random" in (settings.selection, settings.order)


@dataclass(frozen=True)
class Method:
    """A method as the table names it.

    Attributes:
        arrange: makes the plan.
        reads: keys of the `arrangement` section that it looks at, beside `method` and the budgets:
            `rows`, `answer_tokens` and `equal_lengths`. Others are refused in a study, so that no
            setting is without effect unseen. One that reads
            `per_task` is called with `selection: all` for single tasks and for what was taken of
            them: its plans hold in `distance` what it sorts by.
        embeds: whether it looks at vectors or distances.
        needs: what else has to be made for it under given settings.
        grows: whether its plan of more rows, from one end, begins with that of fewer, as
            `equal_lengths` needs it.
        fills_lengths: whether it heeds `equal_lengths` itself, and so need not grow.
        draws: whether its plan hangs on the seed under given settings.
        deals: whether it deals from `Request.groups`, so that it needs tasks or clusters.
        distance: what the distances of its plans are, the title of their axis; plans whose titles
            are equal share an axis. `{measure}` and other keys of the section in braces stand for
            their values. Empty where its plans have no distances.
        options: its own settings under `arrangement.options`, with their defaults. One whose
            default is an empty text has to be given.
        later: those of the options that older studies do not know: where they have their default
            they are not written, so that the names of older trials stay as they are.
    """

    arrange: Callable[[Request], Plan]
    reads: frozenset[str] = frozenset()
    embeds: bool = True
    needs: Callable[[Settings], Needs] = needs_nothing
    grows: bool = True
    fills_lengths: bool = False
    draws: Callable[[Settings], bool] = always
    deals: bool = False
    distance: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    later: frozenset[str] = frozenset()
