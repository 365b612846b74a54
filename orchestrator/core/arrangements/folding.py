"""Folding order (arXiv 2506.21545): sort, then lay the strided layers end to end.

    sorted[0::L], sorted[1::L], ..., sorted[L - 1::L]

Each of the L layers runs through the whole range of scores, so that a curriculum is repeated L
times instead of being spread over the epoch. The paper sorts by a learnability or quality
score; here it is one of the nine similarity measures. With one fold it is `measure`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.core.arrangements.measure import arrange as by_measure
from orchestrator.core.arrangements.measure import measure_needs
from orchestrator.core.arrangements.request import Method, Request, where_random
from orchestrator.core.arrangements.scored import READS
from orchestrator.core.plan import Plan


def arrange(request: Request) -> Plan:
    """The plan of `method: folding`: `order` sorts first, then units are folded.

    The plan's turn is the layer.

    Raises:
        ValueError: `options.folds` is less than 1.
    """
    folds = request.options["folds"]
    if folds < 1:
        raise ValueError(f"options.folds is {folds}: give 1 or more")
    plan = by_measure(request)
    changes = np.diff(plan.unit, prepend=plan.unit[:1]) != 0
    layer = np.cumsum(changes) % folds
    return replace(plan, turn=layer).take(np.argsort(layer, kind="stable"))


METHOD = Method(
    arrange,
    reads=READS | {"measure"},
    needs=measure_needs,
    grows=False,
    draws=where_random,
    distance="Measure {measure}",
    options={"folds": 3},
)
