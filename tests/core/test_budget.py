"""A budget in answer tokens: as many whole rows as hold no more, whatever the method."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import METHODS, arrange
from tests.core.pools import make_request, pool_with_duplicates, unit_rows, units_at

ROWS = 40
SELECTIONS = ["nearest", "farthest", "both_ends", "random"]


def request_for(method, drawn, granularity="instance", **changes):
    """A pool with answers of very different lengths, some of them cut away whole."""
    rng = np.random.default_rng(drawn)
    answers = np.maximum(rng.lognormal(2, 1.5, ROWS).astype(np.int64) - 1, 0)
    return make_request(
        pool_with_duplicates(drawn, ROWS, 25), unit_rows(rng, 5),
        units_at(granularity, rng.integers(0, 6, ROWS)),
        answers=answers, options=METHODS[method].options,
        listed=rng.permutation(ROWS)[:33] if method == "given" else None, **changes,
    )  # fmt: skip


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"searched"}))
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.floats(0, 1),
    selection=st.sampled_from(SELECTIONS),
    order=st.sampled_from(["nearest_first", "farthest_first", "random"]),
    granularity=st.sampled_from(["instance", "task"]),
)
def test_the_plan_is_that_of_the_most_rows_whose_answers_fit(
    method, seed, share, selection, order, granularity
):
    chosen = {"selection": selection, "order": order, "seed": seed}
    request = request_for(method, seed, granularity, **chosen)
    available = request.listed if method == "given" else np.arange(ROWS)
    answers = request.answers[available]
    budget = int(answers.max() + share * (answers.sum() - answers.max()))
    plan = arrange(method, request_for(method, seed, granularity, answer_tokens=budget, **chosen))
    held = request.answers[plan.rows].sum()
    assert held <= budget
    assert plan.note.endswith(f"{held:,} of {budget:,} answer tokens")
    same = arrange(method, request_for(method, seed, granularity, rows=len(plan), **chosen))
    assert plan.rows.tolist() == same.rows.tolist()
    if len(plan) < len(available):
        more = arrange(method, request_for(method, seed, granularity, rows=len(plan) + 1, **chosen))
        assert request.answers[more.rows].sum() > budget


def test_turns_end_the_plan_where_they_are_used_up_before_the_tokens():
    turns = {"selection": "nearest", "turns": 2}
    whole = arrange("tma", request_for("tma", 1, **turns))
    answers = request_for("tma", 1).answers
    budget = int(answers[whole.rows].sum()) + 1
    plan = arrange("tma", request_for("tma", 1, answer_tokens=budget, **turns))
    assert plan.rows.tolist() == whole.rows.tolist()
    cut = arrange("tma", request_for("tma", 1, answer_tokens=budget // 2, **turns))
    assert cut.rows.tolist() == whole.rows.tolist()[: len(cut)]
    assert 0 < len(cut) < len(whole)


def test_a_last_turn_that_is_kept_whole_is_left_out_where_it_does_not_fit():
    chosen = {"selection": "nearest", "cut": False}
    answers = request_for("tma", 2).answers
    turns = arrange("tma", request_for("tma", 2)).turn
    plan = arrange("tma", request_for("tma", 2, answer_tokens=int(answers.sum()) // 2, **chosen))
    assert answers[plan.rows].sum() <= answers.sum() // 2
    assert len(plan) == (turns < plan.turn.max() + 1).sum()


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (10**6, "is 1,000,000, and all answers together hold 7: set that or fewer"),
        (1, "is 1, and the first rows that are planned hold 4: set that or more"),
    ],
)
def test_a_budget_that_no_plan_can_meet_is_refused_with_one_that_can(budget, said):
    pool = unit_rows(np.random.default_rng(0), 3)
    known = {"answers": np.array([4, 1, 2]), "listed": np.arange(3)}
    with pytest.raises(ValueError, match=said):
        arrange("given", make_request(pool, pool, answer_tokens=budget, **known))


def test_a_budget_in_tokens_without_texts_is_refused():
    pool = unit_rows(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="counts tokens of texts, and here are none: set rows"):
        arrange("random", make_request(pool, pool, answer_tokens=3))
