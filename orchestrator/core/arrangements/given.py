"""An order, or a subset in an order, that another tool made: the rows that a file names.

Nothing is computed here: which ids the file may name is decided before, where the pool is known.
"""

from __future__ import annotations

import numpy as np

from orchestrator.core.arrangements.request import Method, Needs, Request, where_random
from orchestrator.core.plan import Plan
from orchestrator.core.units import unit_of_rows


def arrange(request: Request) -> Plan:
    """The plan of `method: given`: the listed rows in their order, cut to `rows` (all if None).

    Raises:
        ValueError: there are no listed rows.
    """
    if request.listed is None:
        raise ValueError("method: given needs the rows that the file at options.path names")
    rows = request.listed[: request.rows]
    unit = unit_of_rows(request.units)[rows]
    return Plan(rows, np.zeros(len(rows), np.int64), unit, np.full(len(rows), np.nan))


METHOD = Method(
    arrange,
    embeds=False,
    needs=lambda settings: Needs(listed=True),
    draws=where_random,
    options={"path": ""},
)
