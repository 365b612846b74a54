"""Residual turns: those of TMA, in which no query takes what was as good as taken already.

Near units are often near to one another, and the tenth of them teaches little that the first did
not. Here a query takes, of its `CANDIDATES` nearest free units, the one that is worth most beside
all that was taken before it, whoever took it (`core.posterior`; `options.redundancy` is rho there).
With 0 there is no redundancy and `tma` is what it was. The more the untouched model loses on a
query, the more units it takes: a query with twice the mean loss takes two in a turn.

Not for the far end: what is far from all queries is not explained by other far units.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.cursor import Cursor
from orchestrator.core.arrangements.request import Request
from orchestrator.core.posterior import Posterior

CANDIDATES = 256  # nearest free units of a query, which a pick weighs
ROUNDING = 1e-9  # of credits, which are sums of weights
# Units in order, the turn of each, its distance, and the query that took it.
Taken = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def check_redundancy(redundancy: float, selection: str) -> None:
    """Refuse a redundancy that `tma` cannot allow for.

    Raises:
        ValueError: it is below 0, or above 0 with another selection than `nearest`.
    """
    if redundancy < 0:
        raise ValueError(f"options.redundancy is {redundancy}: give 0 or more, such as 1")
    if redundancy > 0 and selection != "nearest":
        raise ValueError(
            f"options.redundancy is {redundancy}, and selection is {selection}: only turns from "
            "the near end can allow for redundancy; set selection: nearest, or leave it out"
        )


def take_residual_turns(request: Request, done: Callable[[int, int], bool]) -> Taken:
    """Turns from the near end until the budget is met or the pool is used up.

    In a turn the queries pick one after another, the highest loss first; each gains its weight in
    credit, takes a unit for each whole credit and keeps the rest for the next turn.

    Args:
        request: with ranked lists from the near end, and `options.redundancy` above 0.
        done: tells from whole turns and rows so far whether to stop.

    Returns:
        units (n,) int64 in order, their turn (n,) int64, the distance (n,) float64 to the query
        that took the unit, and that query (n,) int64.
    """
    lists, sizes = request.lists("near"), request.units.sizes
    assert request.vectors is not None, "lists are of them"
    assert request.queries is not None, "and of these"
    taken = np.zeros(len(sizes), bool)
    cursor = Cursor(lists, taken)
    posterior = Posterior(request.vectors, request.options["redundancy"])
    queries = np.asarray(request.queries, np.float64)
    weights = query_weights(request.losses, len(queries))
    order = np.argsort(-weights, kind="stable")
    credit = np.zeros(len(queries))
    turns: list[NDArray[np.int64]] = []
    nearest: list[NDArray[np.float64]] = []
    by: list[NDArray[np.int64]] = []
    free, rows = len(sizes), 0
    while free and not done(len(turns), rows):
        credit += weights
        shares = np.floor(credit + ROUNDING).astype(np.int64)
        credit -= shares
        units: list[int] = []
        distances: list[float] = []
        asking = np.repeat(order, shares[order])[:free]
        for query in asking.tolist():
            found, distance = cursor.first(query, CANDIDATES)
            at = posterior.best(queries[query], found)
            unit = int(found[at])
            taken[unit] = True
            posterior.see(unit)
            units.append(unit)
            distances.append(distance[at])
        turn, least = np.array(units), np.array(distances)
        within = np.lexsort((turn, least)) if request.within_turn == "distance" else turn.argsort()
        turns.append(turn[within])
        nearest.append(least[within])
        by.append(asking[within])
        free -= len(turn)
        rows += int(sizes[turn].sum())
    number = np.repeat(np.arange(len(turns)), [len(turn) for turn in turns])
    if not turns:
        return np.empty(0, np.int64), number, np.empty(0, np.float64), np.empty(0, np.int64)
    return np.concatenate(turns), number, np.concatenate(nearest), np.concatenate(by)


def query_weights(losses: NDArray[np.float64] | None, queries: int) -> NDArray[np.float64]:
    """Units that each query takes in a turn, on average: its loss over the mean loss, (queries,).

    Args:
        losses: (queries,) float64, NaN where an answer was cut away: such a query weighs 1. None:
            nobody measured them, and all weigh 1.
        queries: how many there are.
    """
    if losses is None or not np.nansum(losses) > 0:
        return np.ones(queries)
    weights: NDArray[np.float64] = losses / np.nanmean(losses)
    return np.where(np.isnan(weights), 1.0, weights)


def weight_note(losses: NDArray[np.float64] | None) -> str:
    """What a plan notes of the weights of its queries."""
    if losses is None:
        return "every query takes one unit in a turn: no losses were at hand"
    weights = query_weights(losses, len(losses))
    return f"a query takes {weights.min():.2f} to {weights.max():.2f} units in a turn, by its loss"
