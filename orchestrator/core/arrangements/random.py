"""Random arrangement: a seeded sample of the pool in a seeded order, the usual baseline."""

from __future__ import annotations

import numpy as np

from orchestrator.core.arrangements.request import Method, Request
from orchestrator.core.plan import Plan
from orchestrator.core.units import Units


def arrange(request: Request) -> Plan:
    """The plan of `method: random`: whole units in random order, cut to `rows` (all if None)."""
    return shuffled(request.units, request.seed, request.rows)


def shuffled(units: Units, seed: int, rows: int | None) -> Plan:
    """Units in a seeded order, cut to exactly `rows` rows."""
    order = np.random.default_rng(seed).permutation(len(units))
    # Of many small units only those are laid out that the budget can reach.
    chosen = order[: np.searchsorted(np.cumsum(units.sizes_of(order)), rows) + 1] if rows else order
    expanded = units.expand(chosen)
    plan = Plan(
        expanded,
        np.zeros(len(expanded), np.int64),
        np.repeat(chosen, units.sizes_of(chosen)),
        np.full(len(expanded), np.nan),
    )
    return plan.take(slice(0, rows))


METHOD = Method(arrange, reads=frozenset({"granularity"}), embeds=False)
