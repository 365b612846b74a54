"""The plan with which a quadratic model of training foresees the lowest losses of the queries.

A plan is followed by `core.quadratic` along the study's own course of batches and learning rates,
which takes milliseconds, and judged by the area under the foreseen mean loss of the queries. The
search starts from TMA's nearest turns and changes it under the same budget of rows. A change stays
where the area falls:

1. the weight of the two representations that are at hand: turns are taken by the cosine
   (1 - w) cos(vectors) + w cos(phi), with w = 0 (the trial's vectors alone, where it starts),
   1/4, 1/2, 3/4 and 1 (gradients alone);
2. swaps of two turns, and of two windows, blocks of 1 to 2 batches of consecutive rows, the second
   one in the plan or among the rows that would come next, drawn at random. With
   `equal_lengths` rows of the plan and those behind it change places one by one, each with one
   whose answer is as long.

Use it where the gradients of the trained model can be had for the whole pool. It reads the answers
of the queries, so judge it on the held-out set, of which nothing is read. What it finds is the best
for the model of training: part of the gain is the model's error. Rankings are made of the whole
pool, five times, and each followed plan costs a pass over its rows' gradients: it is for budgets of
thousands of rows. `scale` and `curvature` are the two constants of the model, which a trained study
tells; where it does not know them, the plan follows a landscape that is too steep and too stiff.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.arrangements import tma
from orchestrator.core.arrangements.equal_lengths import filling, room_of_draw, token_note
from orchestrator.core.arrangements.request import Method, Needs, Request
from orchestrator.core.lists import search_free
from orchestrator.core.plan import Plan
from orchestrator.core.quadratic import Influence, Quadratic
from orchestrator.core.ranking import Floats
from orchestrator.core.statistics.analysis import area_under_curve

Rows = NDArray[np.int64]
WEIGHTS = (0.25, 0.5, 0.75, 1.0)  # of the gradients, beside the start's 0
DEPTH = 256  # of the ranked lists at a weight, which grow where they are used up


@dataclass(frozen=True)
class _State:
    """Where the search stands.

    Attributes:
        rows: (pool,) int64, first those of the plan, then those that would come next.
        turn: (pool,) int64, the turn of each row of the pool in the ranking.
        area: under the foreseen loss of the queries, in nats.
    """

    rows: Rows
    turn: Rows
    area: float


def arrange(request: Request) -> Plan:
    """The plan of `method: searched`, of exactly `rows` rows (all if None).

    Its turns and distances are those of the start, TMA on the trial's vectors.

    Raises:
        ValueError: there is no influence, no query has an answer, as `check_search`, or with the
            constants the steps of the model do not settle.
    """
    check_search(request.options)
    evaluations, scale = request.options["evaluations"], request.options["scale"]
    if request.influence is None:
        raise ValueError(
            "method: searched foresees the training of a model, and here is none: it is for studies"
        )
    course = replace(request.influence.course, scale=scale)
    influence = replace(request.influence, course=course, curvature=request.options["curvature"])
    start = _turns(request)
    found, areas, made = _search(request, influence, start, evaluations)
    at = np.empty(len(start), np.int64)
    at[start.rows] = np.arange(len(start))
    tokens = ""
    if request.equal_lengths:
        tokens = f"; {token_note(request, found, room_of_draw(request)[1])}"
    note = (
        f"foreseen area under the query loss {areas[0]:.4f} at the start, {areas[-1]:.4f} at the "
        f"end of {made:,} plans{tokens}"
    )
    return replace(start.take(at[found]), note=note)


def check_search(options: Mapping[str, Any]) -> None:
    """Refuse options that no search can follow.

    Raises:
        ValueError: `evaluations` is below 1, or one of the constants is not above 0.
    """
    if options["evaluations"] < 1:
        raise ValueError(
            f"options.evaluations is {options['evaluations']}: give 1 or more, such as 300"
        )
    for name in ("scale", "curvature"):
        if options[name] <= 0:
            raise ValueError(
                f"options.{name} is {options[name]}: give a number above 0, such as 0.2"
            )


def _search(
    request: Request, influence: Influence, start: Plan, evaluations: int
) -> tuple[Rows, tuple[float, float], int]:
    """The rows that were found, the areas at the start and at the end, and how many were seen."""
    wanted = len(start) if request.rows is None else min(request.rows, len(start))
    foresee = _foreseen(influence, wanted)
    # Of what may change places with what outside of the plan; None: windows with windows.
    classes, _, room = room_of_draw(request) if request.equal_lengths else (None, None, None)

    def state(ranking: Plan) -> _State:
        turn = np.empty(len(ranking), np.int64)
        turn[ranking.rows] = ranking.turn
        rows = ranking.rows
        if classes is not None and room is not None:
            inside = filling(classes[rows], room)
            rows = np.concatenate([rows[inside], np.delete(rows, inside)])
        return _State(rows, turn, foresee(rows[:wanted]))

    best = first = state(start)
    made = 1
    for weight in WEIGHTS[: evaluations - 1]:
        other = state(_turns(_weighted(request, influence, weight)))
        best = other if other.area < best.area else best
        made += 1
    rng = np.random.default_rng(request.seed)
    widest = max(1, min(2 * influence.course.global_batch, wanted // 2))
    while made < evaluations:
        rows = best.rows.copy()
        if rng.random() < 0.5:
            _swap_turns(rows[:wanted], best.turn, rng)
        else:
            _swap_windows(rows, wanted, int(rng.integers(1, widest + 1)), rng, classes)
        area = foresee(rows[:wanted])
        best = replace(best, rows=rows, area=area) if area < best.area else best
        made += 1
    return best.rows[:wanted], (first.area, best.area), made


def _foreseen(influence: Influence, wanted: int) -> Callable[[Rows], float]:
    """What tells the area of a plan of `wanted` rows for one pass; other passes repeat it."""
    model = Quadratic(influence.pool, influence.mass, influence.curvature)
    course = influence.course
    if not model.settles(course, wanted * course.epochs):
        raise ValueError(
            "the learning rate is so high for the curvature that the steps of the model of "
            "training swing ever wider: lower options.scale and options.curvature to what is "
            "fitted to a trained study"
        )
    answered = ~np.isnan(influence.losses)
    if not answered.any():
        raise ValueError("method: searched lowers the loss of queries, and none has an answer")
    tests = model.turned(influence.tests[answered].mean(axis=0, dtype=np.float64)[None])
    losses = influence.losses[answered].mean()[None]

    def area(rows: Rows) -> float:
        places = model.follow(np.tile(rows, course.epochs), course)
        curve = model.losses(places, tests, losses)[:, 0]
        return float(area_under_curve(np.arange(len(curve)), curve))

    return area


def _turns(request: Request) -> Plan:
    """The whole pool in TMA's turns from the near end."""
    return tma.arrange(
        replace(
            request,
            selection="nearest",
            order="nearest_first",
            rows=len(request.units.rows),
            options=tma.METHOD.options,
        )
    )


def _weighted(request: Request, influence: Influence, weight: float) -> Request:
    """The request on vectors whose cosine is the mean of both representations' cosines."""
    assert request.vectors is not None, "TMA has looked at them"
    assert request.queries is not None, "and at these"
    vectors = _joined(request.vectors, influence.pool, weight)
    queries = _joined(request.queries, influence.tests, weight)
    free = np.zeros(len(vectors), bool)
    lists = search_free(queries, vectors, min(DEPTH, len(vectors)), free)
    return replace(request, vectors=vectors, queries=queries, neighbours={"near": lists})


def _joined(vectors: Floats, phi: Floats, weight: float) -> NDArray[np.float32]:
    lengths = np.linalg.norm(phi, axis=1, keepdims=True)
    directions = np.divide(phi, lengths, out=np.zeros_like(phi), where=lengths > 0)
    parts = [(1 - weight) ** 0.5 * vectors, weight**0.5 * directions]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _swap_turns(rows: Rows, turn: Rows, rng: np.random.Generator) -> None:
    """Put the rows of one turn where those of another are, and the other way round, in place."""
    turns = turn[rows]
    known = np.unique(turns)
    if len(known) < 2:
        return
    one, other = (np.flatnonzero(turns == each) for each in rng.choice(known, 2, replace=False))
    earlier, later = (one, other) if one[0] < other[0] else (other, one)
    rows[np.sort(np.concatenate([one, other]))] = rows[np.concatenate([later, earlier])]


def _swap_windows(
    rows: Rows, wanted: int, width: int, rng: np.random.Generator, classes: Rows | None
) -> None:
    """Swap two blocks in place: one of the plan, one of it or of as many rows behind it.

    Args:
        rows: (pool,), the plan's `wanted` ones first.
        width: of a block, at most half of the plan.
        classes: (pool,), of each row; a row of the plan changes places with one behind it only if
            both are of one class, wherever that stands. None: all are alike.
    """
    end = wanted if rng.random() < 0.5 else min(len(rows), 2 * wanted)
    first = int(rng.integers(0, wanted - width + 1))
    if classes is not None and end > wanted:
        behind = rows[wanted:end]
        for place in range(first, first + width):
            alike = wanted + np.flatnonzero(classes[behind] == classes[rows[place]])
            if len(alike):
                other = int(rng.choice(alike))
                rows[place], rows[other] = rows[other], rows[place]
        return
    second = int(rng.integers(0, end - width + 1))
    if abs(first - second) < width:  # they overlap
        return
    here, there = slice(first, first + width), slice(second, second + width)
    rows[here], rows[there] = rows[there].copy(), rows[here].copy()


METHOD = Method(
    arrange,
    needs=lambda settings: Needs(ends=("near",), influence=True),
    grows=False,
    fills_lengths=True,
    distance=tma.METHOD.distance,
    options={"evaluations": 300, "scale": 1.0, "curvature": 1.0},
)
