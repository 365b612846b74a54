"""Random rows whose answers are as long as those that TMA selects: a baseline for similarity.

Rows that are near to the queries may be longer or shorter than others, and a model learns from
each token: what looks like the gain of similarity may be the gain of length. Here every row of
the plan of `tma` under the same settings gives its place to a random row with an answer of about
as many tokens. Length and its order in time are those of `tma`, the rest is chance. Where length
may differ, too, use `random`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements import tma
from orchestrator.core.arrangements.request import Method, Needs, Request, Settings
from orchestrator.core.plan import Plan
from orchestrator.core.units import unit_of_rows


def arrange(request: Request) -> Plan:
    """The plan of `method: length_matched`; which rows it holds hangs on the set of the plan of
    `tma`, not on its order. A row of that plan may be drawn, too: the note says how many were.

    Raises:
        ValueError: there are no tokens, or `options.tolerance` is below 0.
    """
    tolerance = request.options["tolerance"]
    if tolerance < 0:
        raise ValueError(f"options.tolerance is {tolerance}: give 0 or more, such as 0.1")
    if request.answers is None:
        raise ValueError("method: length_matched counts tokens of texts, and here are none")
    selected = tma.arrange(request).rows
    rows = matched(selected, length_classes(request.answers, tolerance), request.seed)
    unit = unit_of_rows(request.units)[rows]
    return Plan(
        rows, np.zeros(len(rows), np.int64), unit, np.full(len(rows), np.nan),
        _note(request.answers, rows, selected),
    )  # fmt: skip


def length_classes(answers: NDArray[np.int64], tolerance: float) -> NDArray[np.int64]:
    """Returns a class of each answer, (rows,) int64, rising with its length.

    Of a class the longest answer is at most 1 + `tolerance` times as long as the shortest; answers
    without a token are a class of their own.

    Args:
        answers: (rows,) int64 tokens.
    """
    shortest = [1]  # of each class
    while shortest[-1] <= answers.max(initial=0):
        shortest.append(int(shortest[-1] * (1 + tolerance)) + 1)
    return np.searchsorted(shortest, answers, side="right")


def matched(rows: NDArray[np.int64], classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Returns for each of some rows a random row of the same class, (len(rows),) int64, distinct.

    Each class is drawn from in one seeded order, so that more rows only add to what is drawn.

    Args:
        rows: (n,) int64, distinct.
        classes: (rows of the pool,) int64.
    """
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    drawn = shuffled[np.argsort(classes[shuffled], kind="stable")]
    asking = np.sort(rows)
    asking = asking[np.argsort(classes[asking], kind="stable")]
    wanted = classes[asking]
    # How many rows of the same class ask before, and where the class begins among those drawn.
    before = np.arange(len(asking)) - np.searchsorted(wanted, wanted)
    stand_in = np.empty(len(classes), np.int64)
    stand_in[asking] = drawn[np.searchsorted(classes[drawn], wanted) + before]
    return stand_in[rows]


def needs(settings: Settings) -> Needs:
    """What TMA needs, and the tokens of answers."""
    return replace(tma.needs(settings), answers=True)


def _note(answers: NDArray[np.int64], rows: NDArray[np.int64], selected: NDArray[np.int64]) -> str:
    if not len(rows):
        return ""
    shared = np.isin(rows, selected).mean()
    return (
        f"{answers[rows].mean():.1f} answer tokens a row, of tma {answers[selected].mean():.1f}; "
        f"{shared:.0%} of the rows are of tma's selection, too"
    )


METHOD = Method(
    arrange, reads=tma.METHOD.reads, needs=needs, grows=False, options={"tolerance": 0.1}
)
