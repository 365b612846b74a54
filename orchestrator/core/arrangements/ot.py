"""Sort by optimal transport between pool and queries (arXiv 2406.11721, compared with WSD).

Units and queries carry uniform weights, whatever the size of a unit, so that scores compare
between units; the cost is the Euclidean distance. With T the transport plan and C the cost:

    score_i = sum_j T_ij * C_ij

Exact (POT's network simplex) up to `EXACT_PAIRS` pairs, entropic (log-domain Sinkhorn) above;
the plan's note says which. An exact plan need not be unique: duplicate rows may score
differently. A score says what moving the unit costs, not how near its nearest query is: for
that use `wsd` or `tma`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Method, Request, where_random
from orchestrator.core.arrangements.scored import READS, arrange_by, embedded
from orchestrator.core.measures import BLOCK_BYTES
from orchestrator.core.plan import Plan
from orchestrator.core.ranking import Floats

# 28,751 units x 1,125 queries (the paper's) took 22 s and 1.8 GB on one core.
EXACT_PAIRS = 40_000_000
REGULARISATION = 0.05  # in units of the cost, which is 0 to 2 between unit vectors
TOLERANCE = 1e-3  # share of the mass that may be misplaced when the entropic solver stops
MOST_ITERATIONS = 1_000


def arrange(request: Request) -> Plan:
    """The plan of `method: ot`; the plan's distance is the score of the row's unit.

    Raises:
        ValueError: the solver did not converge.
    """
    vectors, queries = embedded(request)
    units, targets = np.asarray(vectors, np.float64), np.asarray(queries, np.float64)
    size = f"{len(units)} units x {len(targets)} queries"
    if len(units) * len(targets) <= EXACT_PAIRS:
        return arrange_by(exact_costs(units, targets), request, f"exact optimal transport, {size}")
    note = (
        f"entropic optimal transport, regularisation {REGULARISATION}: {size} are more than the "
        f"{EXACT_PAIRS:,} pairs of the exact solver"
    )
    return arrange_by(entropic_costs(units, targets), request, note)


def exact_costs(units: Floats, queries: Floats) -> NDArray[np.float64]:
    """Score of each unit by the exact transport plan.

    Args:
        units, queries: (n, d) and (m, d) float64.

    Returns:
        (n,) float64. Memory: about 40 bytes a pair.
    """
    import ot  # imports torch where there is one: only for those who use it

    cost = ot.dist(units, queries, metric="euclidean")
    weights = (np.full(len(side), 1 / len(side)) for side in (units, queries))
    transport, log = ot.emd(*weights, cost, numItermax=10**9, log=True)
    if log["warning"] is not None:
        raise ValueError(f"optimal transport was not solved: {log['warning']}")
    scores: NDArray[np.float64] = (transport * cost).sum(axis=1)
    return scores


def entropic_costs(
    units: Floats, queries: Floats, regularisation: float = REGULARISATION
) -> NDArray[np.float64]:
    """Score of each unit by the entropic transport plan, in blocks: no units x queries at once.

    Args:
        units, queries: (n, d) and (m, d) float64.
        regularisation: weight of the entropy, in units of the cost.

    Returns:
        (n,) float64.
    """
    import ot

    blocks = tuple(max(1, BLOCK_BYTES // (8 * len(other))) for other in (queries, units))
    first, second, log = ot.bregman.empirical_sinkhorn(
        units, queries, regularisation, metric="euclidean", numIterMax=MOST_ITERATIONS,
        stopThr=TOLERANCE, isLazy=True, batchSize=blocks, log=True, warn=False,
    )  # fmt: skip
    if not log["err"][-1] <= TOLERANCE:
        raise ValueError(
            f"entropic optimal transport misplaces {log['err'][-1]:.2g} of the mass after "
            f"{MOST_ITERATIONS} iterations: choose another method, or fewer units"
        )
    scores = np.empty(len(units))
    for start in range(0, len(units), blocks[0]):
        part = slice(start, start + blocks[0])
        cost = ot.dist(units[part], queries, metric="euclidean")
        mass = np.exp(first[part, None] + second - cost / regularisation)
        scores[part] = (mass * cost).sum(axis=1)
    return scores


METHOD = Method(arrange, reads=READS, draws=where_random, distance="Cost of optimal transport")
