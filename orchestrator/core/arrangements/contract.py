"""What every plan has to be, whoever wrote the method: those of other packages may be anything."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.core.arrangements.request import Method, Request
from orchestrator.core.plan import Plan
from orchestrator.errors import first_line

COLUMNS = {"rows": np.integer, "turn": np.integer, "unit": np.integer, "distance": np.floating}


def keeping_form(name: str, method: Method) -> Callable[[Request], Plan]:
    """The method's own function, whose plans have the form of one and whose failures are told.

    The function raises ValueError: what it returned is no plan, or it failed; the words of a
    ValueError of its own are left as they are, since they are for its users.
    """

    def arrange(request: Request) -> Plan:
        try:
            plan = method.arrange(request)
        except ValueError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise ValueError(
                f"method {name!r} failed with {type(error).__name__}: {first_line(error)} "
                f"({Path(last.filename).name}, line {last.lineno})"
            ) from error
        if fault := _form_fault(plan):
            raise ValueError(f"method {name!r} {fault}")
        return plan

    return arrange


def check_plan(name: str, method: Method, plan: Plan, request: Request) -> None:
    """Refuse a plan that is no sequence of distinct rows of the pool within the budget.

    Raises:
        ValueError: what is wrong with it.
    """
    pool, budget = len(request.units.rows), request.rows
    if len(plan) and not 0 <= plan.rows.min() <= plan.rows.max() < pool:
        raise ValueError(f"method {name!r} planned rows that the pool of {pool} does not have")
    known = 0 if request.queries is None else len(request.queries)
    if (
        plan.query is not None
        and len(plan)
        and not -1 <= plan.query.min() <= plan.query.max() < known
    ):
        raise ValueError(
            f"method {name!r} planned by queries that are none of the {known}: give their numbers, "
            "and -1 where no single one chose the row"
        )
    if len(np.unique(plan.rows)) < len(plan):
        raise ValueError(f"method {name!r} planned a row twice; every row may come once")
    whole = "cut" in method.reads and not request.cut  # the last turn is kept as it is
    if budget is not None and len(plan) > budget and not whole and request.per_task is None:
        raise ValueError(
            f"method {name!r} planned {len(plan):,} rows, and arrangement.rows is {budget:,}: "
            "it has to heed Request.rows"
        )


def _form_fault(plan: Any) -> str:
    """What keeps an object from being a plan; empty of one that is."""
    if not isinstance(plan, Plan):
        return f"returned a {type(plan).__name__}: let it return an orchestrator.core.plan.Plan"
    columns = COLUMNS if plan.query is None else {**COLUMNS, "query": np.integer}
    for column, kind in columns.items():
        values = getattr(plan, column)
        if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, kind):
            given = getattr(values, "dtype", type(values).__name__)
            return f"returned a plan whose {column} are {given}: make them {kind.__name__} numbers"
        if values.shape != plan.rows.shape or values.ndim != 1:
            return (
                f"returned a plan with {column} of shape {values.shape} and rows of shape "
                f"{plan.rows.shape}: give (n,) each"
            )
    return ""
