"""A budget in answer tokens for any method: as many rows as the method plans within it.

Selections of equal rows may differ much in what is learned from, where one prefers long answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.request import Request
from orchestrator.core.plan import Plan


def within_answer_tokens(
    arrange: Callable[[Request], Plan], request: Request, answer_tokens: int
) -> Plan:
    """A plan whose answers hold no more than so many tokens, and with one row more would.

    Rows are whole. A budget in turns may end the plan before. The method is asked with `rows` in
    place of the budget, about log2(rows of the pool) times. Where what it selects grows with
    `rows`, in whichever order, there is one such plan, the longest that fits. Of a method that
    selects other rows for each number of them, as `searched` does, a longer one may fit again.

    Raises:
        ValueError: without texts there are no tokens; or the budget is more than all answers hold,
            or less than the first that the method plans.
    """
    if request.answers is None:
        raise ValueError("answer_tokens counts tokens of texts, and here are none: set rows")
    answers = request.answers
    available = answers if request.listed is None else answers[request.listed]
    if answer_tokens > available.sum():
        raise ValueError(
            f"answer_tokens is {answer_tokens:,}, and all answers together hold "
            f"{available.sum():,}: set that or fewer"
        )

    def plan(rows: int) -> Plan:
        return arrange(replace(request, rows=rows))

    # No plan of more rows than of the shortest answers fits.
    most = int(np.searchsorted(np.cumsum(np.sort(available)), answer_tokens, side="right"))
    counts = range(1, most + 1)
    rows = bisect_right(counts, answer_tokens, key=lambda rows: _held(plan(rows), answers))
    if rows == 0:
        raise ValueError(
            f"answer_tokens is {answer_tokens:,}, and the first rows that are planned hold "
            f"{_held(plan(1), answers):,}: set that or more"
        )
    found = plan(rows)
    held = f"{_held(found, answers):,} of {answer_tokens:,} answer tokens"
    return replace(found, note="; ".join(filter(None, (found.note, held))))


def _held(plan: Plan, answers: NDArray[np.int64]) -> int:
    return int(answers[plan.rows].sum())
