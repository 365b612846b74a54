"""Selection and order by a score of each unit: what wsd, ot, measure and folding share.

Not a method: a score looks at units one by one, so near duplicates are taken together; `tma`
and `rds` let the queries take turns instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Request
from orchestrator.core.plan import Plan, sandwiched
from orchestrator.core.ranking import Floats
from orchestrator.core.units import Units, unit_of_rows

READS = frozenset({"granularity", "selection", "order", "cut", "arm", "per_task"})


def embedded(request: Request) -> tuple[Floats, Floats]:
    """Vectors of the units and of the queries.

    Raises:
        ValueError: there are none.
    """
    if request.vectors is None or request.queries is None:
        raise ValueError("this method needs the vectors of the units and of the queries")
    return request.vectors, request.queries


def arrange_by(scores: NDArray[np.float64], request: Request, note: str = "") -> Plan:
    """Select rows by the score of their unit, then order them by it.

    `selection` and the budget `rows` decide the set, `order` its sequence. Units of equal score
    come in rising number from either end, those without a score (NaN) after all others from
    the near end and before all others from the far end.

    Args:
        scores: (units,) float64, smaller is nearer.

    Returns:
        The plan; its distance is the score.

    Raises:
        ValueError: for a selection or an order that does not exist.
    """
    units = request.units
    near, far = from_either_end(scores)
    sequences = {"nearest_first": units.expand(near), "farthest_first": units.expand(far)}
    sequences["sandwich"] = sequences["nearest_first"]
    chosen = np.zeros(len(units.rows), bool)
    chosen[selected(request, near, far)] = True
    if request.order == "random":
        # From the sorted rows, so that the shuffle depends on the set and the seed alone.
        rows = np.random.default_rng(request.seed).permutation(np.flatnonzero(chosen))
    elif request.order in sequences:
        rows = sequences[request.order]
        rows = rows[chosen[rows]]
    else:
        raise ValueError(
            f"order {request.order!r}: nearest_first, farthest_first, random or sandwich"
        )
    unit = unit_of_rows(units)[rows]
    plan = Plan(rows, np.zeros(len(rows), np.int64), unit, scores[unit], note)
    return sandwiched(plan) if request.order == "sandwich" else plan


def from_either_end(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Units from the nearest on and from the farthest on, ties to the lowest, as `arrange_by`."""
    rank = np.where(np.isnan(scores), np.inf, scores)
    return np.argsort(rank, kind="stable"), np.argsort(-rank, kind="stable")


def selected(
    request: Request, near: NDArray[np.int64], far: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The selected rows, in any order; `near` and `far` are the units from either end."""
    units, pool = request.units, len(request.units.rows)
    rows = pool if request.rows is None else request.rows
    if request.selection == "all":
        return units.rows
    if request.selection == "random":
        return np.random.default_rng(request.seed).permutation(pool)[:rows]
    if request.selection in ("nearest", "farthest"):
        return _budgeted(units, near if request.selection == "nearest" else far, rows, request.cut)
    if request.selection != "both_ends":
        raise ValueError(
            f"selection {request.selection!r}: nearest, farthest, both_ends, random or all"
        )
    first = _budgeted(units, near, rows // 2, request.cut)
    if not request.cut:
        return np.concatenate([first, _budgeted(units, far, rows // 2, cut=False)])
    last = units.expand(far)
    return np.concatenate([first, last[~np.isin(last, first)][: rows - len(first)]])


def _budgeted(units: Units, order: NDArray[np.int64], rows: int, cut: bool) -> NDArray[np.int64]:
    """Rows of whole units in an order until there are `rows`, then the cut."""
    sizes = units.sizes_of(order)
    before = np.cumsum(sizes) - sizes
    taken = units.expand(order[before < rows])
    return taken[:rows] if cut else taken
