"""One method a file; this table names them.

A package of your own adds one through the entry-point group `orchestrator.methods`: the entry's
name is the method's, its object a `Method`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from orchestrator.core.arrangements import (
    cluster,
    folding,
    given,
    length_matched,
    measure,
    ot,
    random,
    rds,
    round_robin,
    searched,
    tma,
    wsd,
)
from orchestrator.core.arrangements.budget import within_answer_tokens
from orchestrator.core.arrangements.contract import check_plan, keeping_form
from orchestrator.core.arrangements.equal_lengths import of_equal_lengths
from orchestrator.core.arrangements.per_task import SELECTIONS, arrange_per_task
from orchestrator.core.arrangements.request import Method, Needs, Request, Settings
from orchestrator.core.plan import Plan

__all__ = [
    "METHODS", "Method", "Needs", "Request", "Settings", "arrange", "find_method", "method_names",
]  # fmt: skip

ENTRY_POINTS = "orchestrator.methods"

METHODS: dict[str, Method] = {
    "random": random.METHOD,
    "round_robin": round_robin.METHOD,
    "cluster": cluster.METHOD,
    "wsd": wsd.METHOD,
    "ot": ot.METHOD,
    "measure": measure.METHOD,
    "tma": tma.METHOD,
    "folding": folding.METHOD,
    "rds": rds.METHOD,
    "given": given.METHOD,
    "length_matched": length_matched.METHOD,
    "searched": searched.METHOD,
}


def method_names() -> list[str]:
    """Every method there is: those of this package, then those of installed ones."""
    return [*METHODS, *(name for name in _installed() if name not in METHODS)]


def find_method(name: str) -> Method:
    """Returns the method that has a name, of this package or an installed one.

    Raises:
        ValueError: there is none, or an installed package declares it and it cannot be
            imported or is something else.
    """
    if name in METHODS:
        return METHODS[name]
    if name not in _installed():
        raise ValueError(f"method {name!r} does not exist: choose {', '.join(method_names())}")
    entry = _installed()[name]
    try:
        method = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"method {name!r}: the entry point {entry.value}: {error}") from error
    if not isinstance(method, Method):
        raise ValueError(
            f"method {name!r}: the entry point {entry.value} is a "
            f"{type(method).__name__}; make it an orchestrator.core.arrangements.Method"
        )
    return method


def method_version(name: str) -> str | None:
    """Name and version of the installed package that a method comes from; None for one of here."""
    entry = None if name in METHODS else _installed().get(name)
    return f"{entry.dist.name} {entry.dist.version}" if entry and entry.dist else None


def arrange(method: str, request: Request) -> Plan:
    """Makes the plan of a method, and checks that it is one.

    Raises:
        ValueError: for a method that does not exist or fails, for settings it cannot meet, or for
            a plan that is not a sequence of distinct rows of the pool within the budget.
    """
    found, budget = find_method(method), request.answer_tokens
    planned = keeping_form(method, found)
    if "per_task" in found.reads and request.selection in SELECTIONS:
        plan = arrange_per_task(planned, request)
    elif request.equal_lengths and not found.fills_lengths:
        plan = of_equal_lengths(planned, request)
    elif budget is not None:
        plan = within_answer_tokens(planned, request, budget)
    else:
        plan = planned(request)
    check_plan(method, found, plan, request)
    return plan


@cache
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
