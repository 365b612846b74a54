"""Curves and their summaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.statistics.analysis import (
    area_under_curve,
    elbow,
    set_curve,
    steps_to_fraction,
    task_curves,
    worst_rise,
)

STEPS = np.array([0, 10, 30])
NAN = float("nan")


def test_set_curve_is_the_mean_over_instances_with_a_loss():
    step = np.array([10, 0, 0, 10, 0])
    loss = np.array([3.0, 1.0, 2.0, NAN, NAN])
    steps, means = set_curve(step, loss)
    assert steps.tolist() == [0, 10]
    assert means.tolist() == [1.5, 3.0]


def test_a_set_without_any_loss_has_an_empty_curve():
    steps, means = set_curve(np.array([0, 10]), np.array([NAN, NAN]))
    assert len(steps) == len(means) == 0


def test_task_curves_average_each_task_by_itself_and_mark_missing_ones():
    step = np.array([0, 0, 0, 10, 10])
    task = ["b", "a", "b", "b", "a"]
    curves = task_curves(step, task, np.array([1.0, 4.0, 2.0, 5.0, NAN]))
    assert curves.steps.tolist() == [0, 10]
    assert curves.tasks == ["a", "b"]
    np.testing.assert_array_equal(curves.losses, [[4.0, 1.5], [NAN, 5.0]])


def test_no_instances_make_empty_task_curves():
    curves = task_curves(np.array([], dtype=np.int64), [], np.array([]))
    assert curves.losses.shape == (0, 0)


def test_area_is_the_trapezoid_over_the_range_of_steps():
    # (4 + 2) / 2 * 10 + (2 + 1) / 2 * 20 = 60, over 30 steps
    assert area_under_curve(STEPS, np.array([4.0, 2.0, 1.0])) == pytest.approx(2.0)


def test_area_of_a_constant_curve_is_the_constant_whatever_the_steps():
    assert area_under_curve(np.array([5, 6, 90]), np.full(3, 1.25)) == pytest.approx(1.25)


def test_area_takes_each_column_as_a_curve():
    losses = np.array([[4.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(area_under_curve(STEPS, losses), [2.0, 1.0])


def test_area_of_one_step_is_its_loss():
    assert area_under_curve(np.array([0]), np.array([3.5])) == 3.5


@pytest.mark.parametrize("steps", [[], [0, 0], [10, 0]])
def test_area_refuses_steps_that_do_not_ascend(steps):
    with pytest.raises(ValueError, match="ascend"):
        area_under_curve(np.array(steps, dtype=np.int64), np.ones(len(steps)))


def test_steps_to_fraction_is_the_first_measured_step_past_the_target():
    losses = np.array([3.0, 2.2, 1.0])  # total drop 2: 40% after step 10, all after step 30
    assert steps_to_fraction(STEPS, losses, 0.4) == 10
    assert steps_to_fraction(STEPS, losses, 0.41) == 30
    assert steps_to_fraction(STEPS, losses, 1.0) == 30


def test_total_drop_ends_at_the_lowest_loss_even_if_the_curve_rises_again():
    assert steps_to_fraction(STEPS, np.array([3.0, 1.0, 2.5]), 0.9) == 10


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 1.5, 2.0]])
def test_there_is_no_step_without_a_drop(losses):
    assert steps_to_fraction(STEPS, np.array(losses)) is None


@pytest.mark.parametrize("fraction", [0.0, 1.1])
def test_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction"):
        steps_to_fraction(STEPS, np.array([3.0, 2.0, 1.0]), fraction)


def test_elbow_is_where_a_fall_turns_into_a_plateau():
    steps = np.array([0, 10, 20, 40, 80])
    assert elbow(steps, np.array([3.0, 2.9, 1.1, 1.05, 1.0])) == 20
    assert elbow(steps, np.array([3.0, 1.2, 1.1, 1.05, 1.0])) == 10


@given(st.floats(0.05, 0.5), st.floats(0.1, 10), st.floats(-5, 5))
def test_elbow_of_an_exponential_is_where_its_slope_is_that_of_the_chord(rate, height, floor):
    steps = np.arange(101)
    slope = (1 - np.exp(-rate * 100)) / 100
    expected = np.log(rate / slope) / rate  # where the derivative of exp(-rate * step) is -slope
    found = elbow(steps, floor + height * np.exp(-rate * steps))
    assert abs(found - expected) <= 1


@pytest.mark.parametrize("losses", [[3.0, 2.0, 0.0], [1.0, 1.0, 1.0], [3.0, 2.9, 1.0]])
def test_lines_and_curves_that_fall_late_have_no_elbow(losses):
    assert elbow(STEPS, np.array(losses)) is None


def test_elbow_refuses_steps_that_do_not_ascend():
    with pytest.raises(ValueError, match="ascend"):
        elbow(np.array([10, 0]), np.array([1.0, 2.0]))


def test_harm_is_the_highest_rise_above_the_untouched_model():
    assert worst_rise(STEPS, np.array([2.0, 2.5, 1.0])) == (10, 0.5)
    assert worst_rise(STEPS, np.array([2.0, 1.5, 1.9])) == (0, 0.0)
