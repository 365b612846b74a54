"""Arms that go by different things are fed equal rows and equal answer tokens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import arrange, find_method
from orchestrator.core.arrangements.equal_lengths import TOLERANCE, of_equal_lengths
from orchestrator.core.arrangements.length_matched import length_classes
from tests.core.pools import make_request, unit_rows

CHOSEN = {"selection": "nearest", "order": "nearest_first"}


def pool_of(answers, rows, seed=0, **more):
    rng = np.random.default_rng(3)
    pool, queries = unit_rows(rng, len(answers), 4), unit_rows(rng, 3, 4)
    return make_request(
        pool=pool, queries=queries, answers=np.array(answers), rows=rows, seed=seed, **more
    )


@settings(deadline=None, max_examples=50)
@given(
    answers=st.lists(st.integers(0, 60), min_size=4, max_size=40),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_rows_come_in_the_order_of_the_method_as_far_as_their_length_has_room(answers, seed, data):
    rows = data.draw(st.integers(1, len(answers)))
    request = pool_of(answers, rows, seed, **CHOSEN)
    classes = length_classes(request.answers, TOLERANCE)
    drawn = np.random.default_rng(seed).permutation(len(answers))[:rows]
    room = np.bincount(classes[drawn], minlength=classes.max() + 1)
    expected = []  # row by row, of the plan of the whole pool
    for row in arrange("tma", replace(request, rows=len(answers))).rows.tolist():
        if room[classes[row]]:
            room[classes[row]] -= 1
            expected.append(row)
    plan = arrange("tma", replace(request, equal_lengths=True))
    assert plan.rows.tolist() == expected
    assert sorted(classes[plan.rows]) == sorted(classes[drawn])


def test_a_random_arm_is_the_draw_itself_and_every_other_arm_has_its_tokens():
    answers = np.random.default_rng(1).integers(1, 9, 200)  # each length is a class of its own
    plain = arrange("random", pool_of(answers, 40))
    same = arrange("random", pool_of(answers, 40, equal_lengths=True))
    assert same.rows.tolist() == plain.rows.tolist()
    tokens = {int(answers[plain.rows].sum())}
    for method, settings_of in {"tma": CHOSEN, "wsd": CHOSEN, "rds": {}}.items():
        plan = arrange(method, pool_of(answers, 40, equal_lengths=True, **settings_of))
        tokens.add(int(answers[plan.rows].sum()))
        assert len(plan) == 40
        assert "answer tokens, a random draw" in plan.note
    assert len(tokens) == 1


def test_a_method_that_leaves_rows_out_is_told_that_it_cannot_fill_the_draw():
    request = pool_of([1, 1, 1, 1, 50, 50, 50, 50], 4)

    def short(asked):
        return find_method("random").arrange(asked).take(slice(0, 1))

    with pytest.raises(ValueError, match="the 1 of 8 rows that the method plans have"):
        of_equal_lengths(short, request)
    with pytest.raises(ValueError, match="rows is 9, and the pool holds 8"):
        of_equal_lengths(short, replace(request, rows=9))
    with pytest.raises(ValueError, match="here are none"):
        of_equal_lengths(short, replace(request, answers=None))
