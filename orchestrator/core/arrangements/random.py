"""Random arrangement: a seeded sample of the pool in a seeded order, the usual baseline."""

from __future__ import annotations

import numpy as np

from orchestrator.core.arrangements.request import Request
from orchestrator.core.plan import Plan


def arrange(request: Request) -> Plan:
    """The plan of `method: random`: `rows` instances (all if None), uniformly."""
    pool = len(request.units.rows)
    rows = np.random.default_rng(request.seed).permutation(pool)[: request.rows]
    return Plan(
        rows.astype(np.int64),
        np.zeros(len(rows), np.int64),
        rows.astype(np.int64),
        np.full(len(rows), np.nan),
    )
