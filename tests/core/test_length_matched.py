"""A random baseline whose answers are as long as those of a selection, place by place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import arrange
from orchestrator.core.arrangements.length_matched import length_classes, matched
from tests.core.pools import make_request, unit_rows

LENGTHS = st.lists(st.integers(0, 5000), min_size=1, max_size=80)


@settings(deadline=None)
@given(answers=LENGTHS, tolerance=st.floats(0, 2))
def test_answers_of_one_class_differ_by_no_more_than_the_tolerance(answers, tolerance):
    answers = np.array(answers)
    classes = length_classes(answers, tolerance)
    for number in np.unique(classes):
        alike = answers[classes == number]
        assert alike.max() <= alike.min() * (1 + tolerance)
    if tolerance == 0:
        assert len(np.unique(classes)) == len(np.unique(answers))
    order = np.argsort(answers)
    assert np.all(np.diff(classes[order]) >= 0)


@settings(deadline=None)
@given(answers=LENGTHS, seed=st.integers(0, 9), data=st.data())
def test_every_row_gives_its_place_to_a_distinct_one_of_its_class(answers, seed, data):
    classes = length_classes(np.array(answers), 0.3)
    order = data.draw(st.permutations(range(len(answers))))
    rows = np.array(order[: data.draw(st.integers(1, len(order)))])
    drawn = matched(rows, classes, seed)
    assert classes[drawn].tolist() == classes[rows].tolist()
    assert len(set(drawn.tolist())) == len(rows)
    turned = matched(rows[::-1], classes, seed)
    assert turned.tolist() == drawn[::-1].tolist()
    assert set(matched(rows[:-1], classes, seed).tolist()) < set(drawn.tolist())


def biased():
    """A pool in which what is near to the queries is long."""
    rng = np.random.default_rng(0)
    pool, queries = unit_rows(rng, 2000, 4), unit_rows(rng, 1, 4)
    near = (pool @ queries.T)[:, 0]
    answers = np.maximum(rng.lognormal(3 + near, 0.7), 1).astype(np.int64)
    return near, answers, {"pool": pool, "queries": queries, "answers": answers}


def test_length_is_that_of_the_selection_and_similarity_is_left_to_chance():
    near, answers, known = biased()
    chosen = {"selection": "nearest", "rows": 200, "options": {"tolerance": 0.1}}
    plans = {
        method: arrange(method, make_request(**known, **chosen)).rows
        for method in ("tma", "length_matched", "random")
    }
    length = {method: answers[rows].mean() for method, rows in plans.items()}
    assert length["random"] < 0.6 * length["tma"]
    assert length["length_matched"] == pytest.approx(length["tma"], rel=0.02)
    by_place = answers[plans["length_matched"]] / answers[plans["tma"]]
    assert 1 / 1.1 <= by_place.min() <= by_place.max() <= 1.1
    # Of all rows that are so long, and not of the near ones among them.
    shared = np.isin(plans["length_matched"], plans["tma"]).mean()
    assert 0.1 < shared < 0.4
    assert near[plans["length_matched"]].mean() < 0.6 * near[plans["tma"]].mean()


def test_the_note_says_how_long_answers_are_and_how_many_rows_are_selected_twice():
    _, answers, known = biased()
    chosen = {"selection": "nearest", "rows": 200, "options": {"tolerance": 0.1}}
    plan = arrange("length_matched", make_request(**known, **chosen))
    tma = arrange("tma", make_request(**known, **chosen))
    shared = np.isin(plan.rows, tma.rows).mean()
    assert plan.note == (
        f"{answers[plan.rows].mean():.1f} answer tokens a row, of tma "
        f"{answers[tma.rows].mean():.1f}; {shared:.0%} of the rows are of tma's selection, too"
    )


def test_another_seed_draws_other_rows():
    _, _, known = biased()
    chosen = {"selection": "nearest", "rows": 200, "options": {"tolerance": 0.1}}
    one, other = (
        arrange("length_matched", make_request(**known, **chosen, seed=seed)).rows
        for seed in (0, 1)
    )
    assert len(set(one.tolist()) & set(other.tolist())) < 100


def test_a_tolerance_below_zero_and_a_pool_without_texts_are_refused():
    pool = unit_rows(np.random.default_rng(1), 5)
    answers = np.arange(5)
    with pytest.raises(ValueError, match=r"options\.tolerance is -0\.5: give 0 or more"):
        arrange(
            "length_matched",
            make_request(pool, pool, answers=answers, options={"tolerance": -0.5}),
        )
    with pytest.raises(ValueError, match="counts tokens of texts, and here are none"):
        arrange("length_matched", make_request(pool, pool, options={"tolerance": 0.1}))
