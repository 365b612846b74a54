"""RDS+ selection (arXiv 2503.01807): queries take turns, each its nearest free unit.

One query after the other takes one unit, so that no two take the same and every query has its
share; `tma` lets all take at once, and a unit that many want then counts once for all. The
paper embeds with the weighted mean of an LLM's hidden states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.cursor import Cursor
from orchestrator.core.arrangements.request import Method, Needs, Request, where_random
from orchestrator.core.plan import Plan


def arrange(request: Request) -> Plan:
    """The plan of `method: rds`, cut to `rows` (all if None).

    The plan's turn is the round, its query the one that took the unit, its distance that to it.

    Raises:
        ValueError: there are no distances.
    """
    units, lists = request.units, request.lists("near")
    taken = np.zeros(len(units), bool)
    cursor = Cursor(lists, taken)
    wanted = len(units.rows) if request.rows is None else min(request.rows, len(units.rows))
    chosen: list[NDArray[np.int64]] = []
    distances: list[NDArray[np.float64]] = []
    rounds: list[int] = []
    by: list[NDArray[np.int64]] = []
    rows = turn = 0
    waiting = np.arange(lists.queries)
    while rows < wanted:
        heads, distance = cursor.heads(waiting)
        end = _first_repeat(heads)
        taken[heads[:end]] = True
        rows += int(units.sizes_of(heads[:end]).sum())
        chosen.append(heads[:end])
        distances.append(distance[:end])
        rounds.append(turn)
        by.append(waiting[:end])
        waiting = waiting[end:]
        if not len(waiting):
            waiting, turn = np.arange(lists.queries), turn + 1
    order, lengths = np.concatenate(chosen), [len(part) for part in chosen]
    sizes = units.sizes_of(order)
    plan = Plan(
        units.expand(order),
        np.repeat(np.repeat(np.array(rounds, np.int64), lengths), sizes),
        np.repeat(order, sizes),
        np.repeat(np.concatenate(distances), sizes),
        query=np.repeat(np.concatenate(by), sizes),
    )
    return plan.take(slice(0, wanted))


def _first_repeat(heads: NDArray[np.int64]) -> int:
    """Position of the first query that wants what an earlier one takes; all others before it
    get what they want without looking again."""
    first = np.unique(heads, return_index=True)[1]
    repeated = np.ones(len(heads) + 1, bool)
    repeated[first] = False
    return int(np.argmax(repeated))


METHOD = Method(
    arrange,
    reads=frozenset({"granularity"}),
    needs=lambda settings: Needs(ends=("near",)),
    draws=where_random,
    distance="Negative cosine to the choosing query",
)
