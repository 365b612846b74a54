"""Selection task by task, before the order of all that is selected (arXiv 2406.11721, the authors'
`choose_flan_per_task_job.py`, which does so by WSD).

From each task come its nearest and its farthest rows (`polar`), or rows evenly spread from the
nearest to the farthest (`uniform`). Every task has its part then, however far it is; where the
nearest rows are wanted, whatever their task, use `selection: nearest`.

A task's rows are scored as a pool of their own, and so are the rows that were taken from all
tasks: the weight of WSD, a mean over the pool, is that of the task first and of the selection then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Request
from orchestrator.core.arrangements.scored import from_either_end, selected
from orchestrator.core.plan import Plan
from orchestrator.core.units import instances

SELECTIONS = ("polar", "uniform")


def arrange_per_task(method: Callable[[Request], Plan], request: Request) -> Plan:
    """The plan of a method on `per_task` rows of each of `request.groups`.

    Args:
        method: one whose plan of a whole pool holds in `distance` what it sorted by.
        request: of single rows, its selection one of `SELECTIONS`.

    Raises:
        ValueError: there is no number of rows, or units are not single rows.
    """
    count, groups = request.per_task, request.groups
    if count is None or len(request.units) < len(request.units.rows):
        raise ValueError(
            f"selection {request.selection} takes single rows of each task: set per_task, and "
            "granularity: instance"
        )
    parts = [groups.expand(np.array([group])) for group in range(len(groups))]
    rows = np.sort(np.concatenate([_taken(method, request, part, count) for part in parts]))
    plan = method(_pool_of(request, rows))
    return replace(plan, rows=rows[plan.rows], unit=rows[plan.unit])


def _taken(
    method: Callable[[Request], Plan], request: Request, rows: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The rows that a task gives, in any order; `rows` are all of its, rising."""
    if len(rows) <= count:
        return rows
    alone = _pool_of(request, rows)
    plan = method(alone)
    scores = np.empty(len(rows))
    scores[plan.rows] = plan.distance
    near, far = from_either_end(scores)
    if request.selection == "polar":
        halves = replace(alone, selection="both_ends", rows=count, cut=True)
        return rows[selected(halves, near, far)]
    # Uncut, every k-th row as the authors have it: up to twice as many, less one.
    places = np.arange(0, len(rows), len(rows) // count)
    return rows[near[np.arange(count) * len(rows) // count if request.cut else places]]


def _pool_of(request: Request, rows: NDArray[np.int64]) -> Request:
    """The same request, for the plan of all of some rows."""
    units, bigrams = instances(len(rows)), request.bigrams
    return replace(
        request,
        units=units,
        groups=units,
        vectors=None if request.vectors is None else request.vectors[rows],
        bigrams=bigrams and (bigrams[0].take(rows), bigrams[1]),
        selection="all",
        per_task=None,
    )
