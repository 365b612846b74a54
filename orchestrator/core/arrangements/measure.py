"""Sort by one of the nine similarity measures (arXiv 2406.11721), each unit by itself.

The measure `cosine_min` sorts by the nearest query, whichever it is; where every query shall
have its part use `tma`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Method, Needs, Request, Settings, where_random
from orchestrator.core.arrangements.scored import READS, arrange_by, embedded
from orchestrator.core.bigrams import kl_scores
from orchestrator.core.measures import MEASURES, nearest_queries, unit_measures
from orchestrator.core.plan import Plan


def arrange(request: Request) -> Plan:
    """The plan of `method: measure`; the plan's distance is the measure of the row's unit.

    Its query is the nearest one where the measure is the distance to that.
    """
    plan = arrange_by(measured(request), request)
    if request.measure not in ("cosine_min", "euclidean_min"):
        return plan
    vectors, queries = embedded(request)
    return replace(plan, query=nearest_queries(vectors[plan.unit], queries))


def measured(request: Request) -> NDArray[np.float64]:
    """`request.measure` of each unit against the whole query set, (units,) float64.

    Raises:
        ValueError: for a measure that does not exist, or bigram_kl without texts.
    """
    if request.measure not in MEASURES:
        raise ValueError(f"measure {request.measure!r}: choose {', '.join(MEASURES)}")
    if request.measure != "bigram_kl":
        return unit_measures(*embedded(request), [request.measure])[:, 0]
    if request.bigrams is None:
        raise ValueError("measure: bigram_kl needs texts; embeddings alone allow the other eight")
    return kl_scores(*request.bigrams)


def measure_needs(settings: Settings) -> Needs:
    """The bigrams of texts, for the one measure that looks at them."""
    return Needs(bigrams=settings.measure == "bigram_kl")


METHOD = Method(
    arrange,
    reads=READS | {"measure"},
    needs=measure_needs,
    draws=where_random,
    distance="Measure {measure}",
)
