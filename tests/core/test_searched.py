"""Searched plans: a better one for the model of training, under the same budget."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import Request, arrange
from orchestrator.core.arrangements.searched import _foreseen
from orchestrator.core.quadratic import Course, Influence
from tests.core.pools import make_request, unit_rows


def influence(seed, rows, queries, **course):
    """Of a pool in which half of the rows point to where the queries do; one has no answer."""
    rng = np.random.default_rng(seed)
    there = rng.normal(size=6)
    pool = rng.normal(size=(rows, 6)) + there * (np.arange(rows) % 2)[:, None]
    tests, losses = rng.normal(size=(queries, 6)) + there, rng.uniform(1, 4, queries)
    losses[-1], tests[-1] = np.nan, 0
    settings = {"global_batch": 4, "rate": lambda step, steps: 0.05 / step, "momentum": 0.9}
    mass = rng.integers(0, 9, rows).astype(float)
    pool[mass == 0] = 0
    return Influence(
        pool.astype(np.float32), mass, tests.astype(np.float32), losses,
        Course(**settings | course),
    )  # fmt: skip


def options(evaluations, **constants):
    return {"evaluations": evaluations, "scale": 1.0, "curvature": 1.0, **constants}


def request(rows, budget, evaluations, seed=0, **course):
    rng = np.random.default_rng(seed + 1)
    return make_request(
        unit_rows(rng, rows), unit_rows(rng, 5), rows=budget, seed=seed,
        influence=influence(seed, rows, 5, **course), options=options(evaluations),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999), rows=st.integers(1, 40), budget=st.none() | st.integers(1, 50),
    evaluations=st.integers(1, 40), epochs=st.integers(1, 2),
)  # fmt: skip
def test_a_searched_plan_keeps_the_budget_and_is_foreseen_no_worse_than_its_start(
    seed, rows, budget, evaluations, epochs
):
    asked = request(rows, budget, evaluations, seed, epochs=epochs)
    plan = arrange("searched", asked)
    wanted = min(budget or rows, rows)
    start = arrange("tma", make_request(asked.vectors, asked.queries, selection="nearest"))
    foresee = _foreseen(asked.influence, wanted)
    assert len(plan) == wanted
    assert foresee(plan.rows) <= foresee(start.rows[:wanted])
    assert f"{foresee(plan.rows):.4f} at the end of {evaluations} plans" in plan.note
    at = np.argsort(start.rows)[plan.rows]
    for column in ("turn", "unit", "distance"):
        assert np.array_equal(getattr(plan, column), getattr(start, column)[at])


def test_one_evaluation_is_the_start_and_many_find_better():
    plans = {many: arrange("searched", request(40, 16, many)).rows for many in (1, 5, 300)}
    foresee = _foreseen(request(40, 16, 1).influence, 16)
    areas = [foresee(rows) for rows in plans.values()]
    assert areas[0] > areas[1] > areas[2]
    asked = request(40, 16, 1)
    nearest = make_request(asked.vectors, asked.queries, selection="nearest", rows=16)
    assert plans[1].tolist() == arrange("tma", nearest).rows.tolist()


def test_of_a_small_pool_the_best_plan_of_all_is_found():
    asked = request(6, 4, 1500, global_batch=1)
    foresee = _foreseen(asked.influence, 4)
    best = min(foresee(np.array(rows)) for rows in itertools.permutations(range(6), 4))
    assert foresee(arrange("searched", asked).rows) == pytest.approx(best, rel=1e-12)


def test_a_search_repeats_itself_and_another_seed_searches_elsewhere():
    one, again = (arrange("searched", request(40, 16, 60)) for _ in range(2))
    asked = request(40, 16, 60)
    other = arrange("searched", Request(**vars(asked) | {"seed": 9})).rows.tolist()
    assert one.rows.tolist() == again.rows.tolist() != other
    assert one.note == again.note  # it stands in the plan's file, whose bytes are the same too


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_budget_in_answer_tokens_is_kept(share):
    answers = np.random.default_rng(0).integers(1, 30, 40)
    asked, budget = request(40, None, 8), int(share * answers.sum())
    plan = arrange(
        "searched", Request(**vars(asked) | {"answers": answers, "answer_tokens": budget})
    )
    held = answers[plan.rows].sum()
    assert budget - 60 < held <= budget
    assert plan.note.endswith(f"; {held:,} of {budget:,} answer tokens")
    if len(plan) < 40:
        more = arrange("searched", Request(**vars(asked) | {"rows": len(plan) + 1})).rows
        assert answers[more].sum() > budget


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), budget=st.integers(1, 30), evaluations=st.integers(1, 60))
def test_with_equal_lengths_answers_are_those_of_the_draw_and_no_worse_than_the_start(
    seed, budget, evaluations
):
    answers = np.random.default_rng(seed).integers(0, 10, 40)  # each length is a class
    asked = request(40, budget, evaluations, seed)
    alike = Request(**vars(asked) | {"answers": answers, "equal_lengths": True})
    rows = arrange("searched", alike).rows
    drawn = arrange("random", alike).rows
    assert sorted(answers[rows]) == sorted(answers[drawn])
    chosen = vars(alike) | {"selection": "nearest", "options": {"redundancy": 0.0}}
    start = arrange("tma", Request(**chosen)).rows
    foresee = _foreseen(asked.influence, budget)
    assert foresee(rows) <= foresee(start)
    if evaluations == 1:
        assert rows.tolist() == start.tolist()


def test_without_a_model_that_is_trained_nothing_is_searched():
    asked = request(9, 4, 5)
    with pytest.raises(ValueError, match="foresees the training of a model, and here is none"):
        arrange("searched", Request(**vars(asked) | {"influence": None}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (options(0), r"options\.evaluations is 0: give 1 or more"),
        (options(5, scale=0.0), r"options\.scale is 0\.0: give a number above 0"),
        (options(5, curvature=-1.0), r"options\.curvature is -1\.0: give a number above 0"),
        (options(5, scale=1e4), r"swing ever wider: lower options\.scale and options\.curvature"),
    ],
)
def test_options_without_a_sense_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        arrange("searched", Request(**vars(request(9, 4, 5)) | {"options": wrong}))


def test_the_constants_of_the_model_are_those_of_the_options():
    stiff, soft = (
        arrange("searched", Request(**vars(request(40, 16, 60)) | {"options": given}))
        for given in (options(60), options(60, scale=0.1, curvature=0.1))
    )
    assert stiff.note != soft.note
