"""Test-centric Multi-turn Arrangement (arXiv 2406.11721, section on TMA).

In a turn every query takes its nearest unit that is not yet taken; the union of what they take
is the turn; it is removed and the next turn begins. Turned round (every query takes its
farthest unit) the same procedure works from the far end of the pool.

Use it where the queries stand for what the model shall generalise to. It needs embeddings; for
an order that ignores the test side use `random`. Where the nearest units repeat one another, set
`options.redundancy`: the turns are then those of `residual`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.cursor import Cursor
from orchestrator.core.arrangements.request import Method, Needs, Request, Settings, where_random
from orchestrator.core.arrangements.residual import (
    Taken,
    check_redundancy,
    take_residual_turns,
    weight_note,
)
from orchestrator.core.lists import NeighbourLists
from orchestrator.core.plan import Plan, concatenate, sandwiched
from orchestrator.core.ranking import End
from orchestrator.core.units import Units

Done = Callable[[int, int], bool]  # (whole turns so far, rows so far) -> budget reached?


def arrange(request: Request) -> Plan:
    """The plan of `method: tma`.

    Raises:
        ValueError: for a selection or an order that does not exist, or a redundancy that it cannot
            allow for.
    """
    order, near = request.order, None
    check_redundancy(_redundancy(request), request.selection)
    if request.selection in ("nearest", "farthest"):
        end: End = "near" if request.selection == "nearest" else "far"
        plan = _budgeted(request, end, rows=request.rows, turns=request.turns)
        plan = plan if (end == "near") == (order != "farthest_first") else _reverse(plan)
    elif request.selection == "both_ends":
        near_part, far_part = _both_ends(request)
        first, last = (near_part, far_part) if order != "farthest_first" else (far_part, near_part)
        plan, near = concatenate(first, _reverse(last)), len(near_part)
    elif request.selection in ("all", "random"):
        subset = np.ones(len(request.units.rows), bool)
        if request.selection == "random":
            subset = _random_subset(request)
        plan = _turns(request, _first_end(order), done=lambda *_: False, keep=subset)
    else:
        raise ValueError(f"selection {request.selection!r}: nearest, farthest, both_ends, "
                         "random or all")  # fmt: skip
    if order == "random":
        # Sorted first, so that the shuffle depends on the set and the seed alone.
        plan = plan.take(np.argsort(plan.rows))
        plan = plan.take(np.random.default_rng(request.seed).permutation(len(plan)))
    elif order == "sandwich":
        plan = sandwiched(plan, near)
    elif order not in ("nearest_first", "farthest_first"):
        raise ValueError(f"order {order!r}: nearest_first, farthest_first, random or sandwich")
    return plan


def needs(settings: Settings) -> Needs:
    """Ranked lists from the ends of the pool that the selection, or the order of all, starts at.

    Residual turns also look at the losses of the queries.
    """
    ends: dict[str, tuple[End, ...]] = {
        "nearest": ("near",),
        "farthest": ("far",),
        "both_ends": ("near", "far"),
    }
    return Needs(
        ends=ends.get(settings.selection, (_first_end(settings.order),)),
        losses=_redundancy(settings) > 0,
    )


def _redundancy(settings: Settings) -> float:
    """`options.redundancy`; 0 under a method that plans by these turns and has no such option."""
    redundancy: float = settings.options.get("redundancy", 0.0)
    return redundancy


def _first_end(order: str) -> End:
    """The end that the turns of a whole pool start from."""
    return "far" if order == "farthest_first" else "near"


def _both_ends(request: Request) -> tuple[Plan, Plan]:
    """Half the budget from the near end, then the far end until the budget is met.

    With `cut` the two parts together hold exactly `rows` distinct rows; without, each end gives
    whole turns until it has half of them (the authors' way), and rows may be in both parts.
    """
    rows, turns = request.rows, request.turns
    # The near half, rounded down in rows and up in turns.
    half = None if rows is None else rows // 2
    near = _budgeted(request, "near", rows=half, turns=None if turns is None else (turns + 1) // 2)
    far_turns = None if turns is None else turns // 2
    if rows is None or not request.cut:
        return near, _budgeted(request, "far", rows=half, turns=far_turns)
    # The far part may repeat near rows, so it is taken longer and cut where the union is full.
    far = _budgeted(request, "far", rows=rows, turns=far_turns)
    new = np.cumsum(~np.isin(far.rows, near.rows))
    return near, far.take(slice(0, int(np.searchsorted(new, rows - rows // 2)) + 1))


def _budgeted(request: Request, end: End, *, rows: int | None, turns: int | None) -> Plan:
    """Whole turns from one end until the first of the budgets is met, then the cut.

    Turns before a window are taken, so that the window's are the same turns as without it, and
    left out of the plan.
    """
    first = 0
    if request.turn_window is not None:
        first, turns = request.turn_window
    before = 0  # rows of the turns before the window

    def done(whole_turns: int, taken_rows: int) -> bool:
        nonlocal before
        if whole_turns == first:
            before = taken_rows
        return (turns is not None and whole_turns >= turns) or (
            rows is not None and whole_turns > first and taken_rows - before >= rows
        )

    plan = _turns(request, end, done=done)
    turn = plan.turn if end == "near" else -plan.turn - 1
    plan = plan.take(np.flatnonzero(turn >= first))
    return plan.take(slice(0, rows)) if rows is not None and request.cut else plan


def _turns(
    request: Request, end: End, *, done: Done, keep: NDArray[np.bool_] | None = None
) -> Plan:
    """Rows by turns from one end of the pool, restricted to the rows in `keep`.

    Turns from the far end count down from -1, and their distances are those from the near end.
    """
    units, note = request.units, ""
    excluded = np.zeros(len(units), bool)
    if keep is not None:
        kept = np.add.reduceat(keep[units.rows].astype(np.int64), units.starts[:-1])
        excluded = kept == 0
    if _redundancy(request):
        chosen, turn, distance, query = take_residual_turns(request, done)
        note = weight_note(request.losses)
    else:
        chosen, turn, distance, query = take_turns(
            request.lists(end), units, done, excluded, request.within_turn
        )
    rows, sizes = units.expand(chosen), units.sizes_of(chosen)
    plan = Plan(
        rows,
        np.repeat(turn if end == "near" else -turn - 1, sizes),
        np.repeat(chosen, sizes),
        np.repeat(distance if end == "near" else -distance, sizes),
        note,
        np.repeat(query, sizes),
    )
    return plan if keep is None else plan.take(np.flatnonzero(keep[plan.rows]))


def take_turns(
    lists: NeighbourLists,
    units: Units,
    done: Done,
    excluded: NDArray[np.bool_],
    within_turn: str = "row",
) -> Taken:
    """Turns until the budget is met or the pool is used up.

    Args:
        lists: from the end of the pool that turns start from.
        done: tells from whole turns and rows so far whether to stop.
        excluded: (units,) bool, units that no query may take.
        within_turn: `row` (rising unit number) or `distance` (nearest first).

    Returns:
        units (n,) int64 in order, their turn (n,) int64, the least distance (n,) float64 to a
        query that took the unit, and that query (n,) int64, the first of several.
    """
    taken = excluded.copy()
    cursor = Cursor(lists, taken)
    queries = np.arange(lists.queries)
    free = int((~taken).sum())
    chosen: list[NDArray[np.int64]] = []
    nearest: list[NDArray[np.float64]] = []
    by: list[NDArray[np.int64]] = []
    rows = 0
    while free and not done(len(chosen), rows):
        wanted, least, query = _least(*cursor.heads(queries))
        if within_turn == "distance":
            order = np.lexsort((wanted, least))
            wanted, least, query = wanted[order], least[order], query[order]
        taken[wanted] = True
        free -= len(wanted)
        chosen.append(wanted)
        nearest.append(least)
        by.append(query)
        rows += int(units.sizes_of(wanted).sum())
    turn = np.repeat(np.arange(len(chosen)), [len(part) for part in chosen])
    return (
        np.concatenate(chosen) if chosen else np.empty(0, np.int64),
        turn.astype(np.int64),
        np.concatenate(nearest) if nearest else np.empty(0, np.float64),
        np.concatenate(by) if by else np.empty(0, np.int64),
    )


def _least(
    units: NDArray[np.int64], distances: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Distinct units, rising, with the least distance of each and the query that it is to."""
    order = np.lexsort((distances, units))
    distinct, first = np.unique(units[order], return_index=True)
    return distinct, distances[order][first], order[first]


def _reverse(plan: Plan) -> Plan:
    """Units in reverse; the rows inside a unit keep the order of the pool."""
    run = np.cumsum(np.diff(plan.unit, prepend=plan.unit[:1]) != 0)
    return plan.take(np.argsort(-run, kind="stable"))


def _random_subset(request: Request) -> NDArray[np.bool_]:
    rng = np.random.default_rng(request.seed)
    keep = np.zeros(len(request.units.rows), bool)
    keep[rng.permutation(len(keep))[: request.rows]] = True
    return keep


METHOD = Method(
    arrange,
    reads=frozenset(
        {"granularity", "selection", "order", "turns", "turn_window", "cut", "within_turn", "arm"}
    ),
    needs=needs,
    draws=where_random,
    distance="Negative cosine to the choosing query",
    options={"redundancy": 0.0},
    later=frozenset({"redundancy"}),
)
