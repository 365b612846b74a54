"""Batches cover every pass over the data, one after another, and none reaches into the next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.order import check_order, rows_fed, step_count
from orchestrator.core.plan import Plan, in_passes, set_digest
from orchestrator.errors import OrderError

passes_of_any_size = given(
    length=st.integers(1, 40), batch=st.integers(1, 12), epochs=st.integers(1, 4)
)


@passes_of_any_size
def test_each_pass_is_cut_into_batches_as_if_it_were_alone(length, batch, epochs):
    rows = length * epochs
    ends = rows_fed(np.arange(step_count(rows, batch, epochs=epochs) + 1), rows, batch, epochs)
    sizes = [*[batch] * (length // batch), *[length % batch] * (length % batch > 0)]
    assert np.diff(ends).tolist() == sizes * epochs
    assert [rows_fed(step, rows, batch, epochs) for step in range(len(ends))] == ends.tolist()


def fed(plan, batch, epochs):
    """Steps and rows of a trial that was fed its plan, batch by batch backwards."""
    steps = step_count(len(plan), batch, epochs=epochs)
    ends = rows_fed(np.arange(steps + 1), len(plan), batch, epochs)
    rows = [plan[ends[at] : ends[at + 1]][::-1] for at in range(steps)]
    return np.repeat(np.arange(1, steps + 1), np.diff(ends)), np.concatenate(rows), steps


@passes_of_any_size
def test_what_was_fed_pass_after_pass_is_proved(length, batch, epochs):
    plan = np.tile(np.random.default_rng(length).permutation(length), epochs)
    steps, rows, count = fed(plan, batch, epochs)
    check_order(plan, steps, rows, batch, count, epochs)


def test_a_second_pass_in_another_order_is_told_by_its_step():
    plan = np.array([4, 2, 0, 1, 3, 0, 3, 1, 2, 4])
    steps, rows, count = fed(plan, 2, 2)
    rows[5:] = rows[:5]
    with pytest.raises(OrderError, match=r"step 4 was not fed .* missing 0, 3, surplus"):
        check_order(plan, steps, rows, 2, count, 2)


def test_passes_that_flow_into_each_other_are_not_the_planned_batches():
    plan = np.tile(np.arange(5), 2)
    flowing = np.arange(10) // 2 + 1
    with pytest.raises(OrderError, match="step 3 was not fed its planned rows: 2 rows instead of"):
        check_order(plan, flowing, plan, 2, 6, 2)


def one_pass(rows):
    zeros = np.zeros(len(rows), np.int64)
    return Plan(np.array(rows), zeros, np.array(rows), np.zeros(len(rows)), note="n")


def test_passes_of_one_length_become_one_plan_and_others_none():
    plan = in_passes([one_pass([3, 1]), one_pass([1, 3])])
    assert (plan.rows.tolist(), plan.note) == ([3, 1, 1, 3], "n")
    with pytest.raises(ValueError, match=r"the passes over the data have \[2, 1\] rows"):
        in_passes([one_pass([3, 1]), one_pass([1])])


def test_the_digest_of_a_set_counts_how_often_a_row_comes():
    assert set_digest(["a", "b", "a"]) == set_digest(["b", "a", "a"]) != set_digest(["a", "b"])
