"""Sort by weighted similarity distance (arXiv 2406.11721), over d_ij = negative cosine:

    WSD_i = min_j d_ij + (mean of min / mean of avg) * avg_j d_ij

With both means over the units of the pool. A value is comparable inside one pool only: where
cosines scatter round 0 the mean of avg is small and the average outweighs the minimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Method, Request, where_random
from orchestrator.core.arrangements.scored import READS, arrange_by, embedded
from orchestrator.core.measures import unit_measures
from orchestrator.core.plan import Plan
from orchestrator.core.ranking import Floats


def arrange(request: Request) -> Plan:
    """The plan of `method: wsd`; the plan's distance is the WSD of the row's unit."""
    return arrange_by(weighted_similarity_distance(*embedded(request)), request)


def weighted_similarity_distance(vectors: Floats, queries: Floats) -> NDArray[np.float64]:
    """Returns the weighted similarity distance of each unit to the queries.

    Args:
        vectors: (units, d) unit vectors, perhaps memory-mapped.
        queries: (queries, d) unit vectors.

    Returns:
        (units,) float64.

    Raises:
        ValueError: the average distance is exactly 0, so that the weight does not exist.
    """
    least, average = unit_measures(vectors, queries, ["cosine_min", "cosine_avg"]).T
    if average.mean() == 0:
        raise ValueError(
            "wsd divides by the mean distance between pool and queries, which is exactly 0 here: "
            "use method: measure with measure: cosine_min"
        )
    scores: NDArray[np.float64] = least + least.mean() / average.mean() * average
    return scores


METHOD = Method(
    arrange, reads=READS, draws=where_random, distance="Weighted similarity distance (WSD)"
)
