"""Rows of a method whose answers are as long as those of a random draw: arms learn from as much.

Of what is near to the queries answers may be shorter or longer than of other rows, and a model
learns from each token. Here a method is asked for more rows than its budget, and of these, in its
order, come those that a random draw of `rows` rows has room for: of each class of lengths
(`length_classes`) as many as are in the draw. Arms with one pool, seed and number of rows then have
answers of the same lengths, whatever they go by, and `random` is the draw itself. What is taken is
a little farther than without; where a method shall keep its own rows, set random ones of their
lengths against it: `length_matched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements.length_matched import METHOD as LENGTH_MATCHED
from orchestrator.core.arrangements.length_matched import length_classes
from orchestrator.core.arrangements.request import Request
from orchestrator.core.plan import Plan

TOLERANCE = LENGTH_MATCHED.options["tolerance"]


def of_equal_lengths(arrange: Callable[[Request], Plan], request: Request) -> Plan:
    """The plan of exactly `rows` rows with the answer lengths of a random draw.

    The method is asked for twice as many rows, then for twice as many again, until the draw is
    filled: its plan of fewer rows has to be the beginning of that of more.

    Raises:
        ValueError: without texts there are no tokens; there are fewer rows than asked for; or the
            method leaves out rows of the pool, so that it cannot fill the draw.
    """
    classes, drawn, room = room_of_draw(request)
    pool, rows = len(classes), len(drawn)
    for asked in _more_and_more(rows, pool):
        plan = arrange(replace(request, rows=asked))
        places = filling(classes[plan.rows], room)
        if len(places) == rows:
            break
    else:
        raise ValueError(
            f"equal_lengths: the {len(plan):,} of {pool:,} rows that the method plans have "
            f"{len(places):,} of the {rows:,} answer lengths of a random draw: set fewer rows, or "
            "leave it out"
        )
    found = plan.take(places)
    note = (
        f"{token_note(request, found.rows, drawn)}; "
        f"the last row was number {places[-1] + 1:,} of the method"
    )
    return replace(found, note="; ".join(filter(None, (found.note, note))))


def room_of_draw(
    request: Request,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns the class of each row's answer, (pool,) int64; `rows` rows drawn at random, (rows,)
    int64; and how many of each class are among them, (classes,) int64.

    Raises:
        ValueError: without texts there are no tokens; or there are fewer rows than asked for.
    """
    if request.answers is None or request.rows is None:
        raise ValueError("equal_lengths counts tokens of texts, and here are none: leave it out")
    pool, rows = len(request.answers), request.rows
    if rows > pool:
        raise ValueError(f"rows is {rows:,}, and the pool holds {pool:,}: set that or fewer")
    classes = length_classes(request.answers, TOLERANCE)
    drawn = np.random.default_rng(request.seed).permutation(pool)[:rows]  # as of method: random
    return classes, drawn, np.bincount(classes[drawn], minlength=classes.max() + 1)


def token_note(request: Request, rows: NDArray[np.int64], drawn: NDArray[np.int64]) -> str:
    """What a plan notes of the answers that it holds, beside the draw."""
    assert request.answers is not None, "they were counted"
    held, of_draw = (int(request.answers[part].sum()) for part in (rows, drawn))
    return f"{held:,} answer tokens, a random draw {of_draw:,}"


def _more_and_more(rows: int, pool: int) -> Iterator[int]:
    """Twice as many, twice as many again and so on; at last the pool."""
    asked = min(2 * rows, pool)
    while asked < pool:
        yield asked
        asked = min(2 * asked, pool)
    yield pool


def filling(classes: NDArray[np.int64], room: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places, rising, of the first so many of each class as there is room for."""
    order = np.argsort(classes, kind="stable")
    first = np.searchsorted(classes[order], classes[order])
    before = np.empty(len(classes), np.int64)  # of the same class
    before[order] = np.arange(len(classes)) - first
    return np.flatnonzero(before < room[classes])
