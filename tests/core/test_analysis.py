"""Curves, their summaries and the comparison of two arms."""

import numpy as np
import pytest

from orchestrator.core.analysis import (
    FEWEST_TASKS,
    area_under_curve,
    compare_arms,
    set_curve,
    steps_to_fraction,
    task_curves,
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


def arms(gap: float, tasks: int = 12, noise: float = 0.02):
    """Two arms that start equal; from step 10 on A is `gap` below B in the mean over tasks."""
    rng = np.random.default_rng(7)
    b = np.array([[3.0], [2.0], [1.5]]) + rng.normal(0, 0.5, tasks)
    scatter = rng.normal(0, noise, (2, tasks))
    a = b.copy()
    a[1:] += scatter - scatter.mean(axis=1, keepdims=True) - gap
    return a, b


@pytest.mark.parametrize(
    ("gap", "verdict"), [(0.3, "ahead"), (-0.3, "behind"), (0.0, "no clear difference")]
)
def test_verdict_follows_the_gap_and_swaps_with_the_arms(gap, verdict):
    a, b = arms(gap)
    by_step, by_area = compare_arms(STEPS, a, b)
    assert by_area.verdict == verdict
    assert by_area.low <= by_area.difference <= by_area.high
    assert by_step[0].verdict == "no clear difference"  # both are the untouched model
    mirrored = compare_arms(STEPS, b, a)[1]
    assert mirrored.difference == pytest.approx(-by_area.difference)
    assert (mirrored.low, mirrored.high) == pytest.approx((-by_area.high, -by_area.low))


def test_area_difference_is_the_mean_over_tasks_of_the_areas_difference():
    a, b = arms(0.3)
    by_area = compare_arms(STEPS, a, b)[1]
    expected = (area_under_curve(STEPS, a) - area_under_curve(STEPS, b)).mean()
    assert by_area.difference == pytest.approx(expected)
    assert (by_area.tasks_ahead, by_area.tasks) == (12, 12)


def test_interval_is_that_of_the_mean_over_tasks():
    rng = np.random.default_rng(0)
    a = rng.normal(1.0, 0.5, (1, 400))
    result = compare_arms(np.array([0]), a, np.zeros((1, 400)))[1]
    assert result.low < 1.0 < result.high
    assert result.high - result.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_interval_covers_the_true_mean_about_95_times_in_100_even_with_ten_tasks():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        a = rng.normal(1.0, 0.5, (1, 10))
        result = compare_arms(np.array([0]), a, np.zeros((1, 10)), resamples=2000)[1]
        covered += result.low < 1.0 < result.high
    assert 0.925 <= covered / 400 <= 0.975


def test_pairing_removes_what_tasks_have_in_common():
    by_area = compare_arms(STEPS, *arms(0.3, noise=0.0))[1]  # tasks differ by 0.5, the gap never
    assert by_area.high - by_area.low == pytest.approx(0, abs=1e-9)


def test_same_seed_gives_the_same_interval_and_another_seed_another():
    a, b = arms(0.1)
    assert compare_arms(STEPS, a, b, seed=3) == compare_arms(STEPS, a, b, seed=3)
    assert compare_arms(STEPS, a, b, seed=3)[1].low != compare_arms(STEPS, a, b, seed=4)[1].low


def test_few_tasks_give_no_verdict_however_large_the_gap():
    assert compare_arms(STEPS, *arms(9.0, FEWEST_TASKS))[1].verdict == "ahead"
    assert compare_arms(STEPS, *arms(9.0, FEWEST_TASKS - 1))[1].verdict == "no clear difference"


def test_a_task_without_a_loss_in_one_arm_is_left_out_of_both():
    a, b = arms(0.3)
    a[1, 0], b[2, 1] = NAN, NAN
    by_step, by_area = compare_arms(STEPS, a, b)
    kept = compare_arms(STEPS, a[:, 2:], b[:, 2:])
    assert (by_step, by_area) == kept


def test_arms_that_share_no_task_or_differ_in_shape_are_refused():
    a, b = arms(0.3)
    with pytest.raises(ValueError, match="no task"):
        compare_arms(STEPS, np.full_like(a, NAN), b)
    with pytest.raises(ValueError, match="shapes"):
        compare_arms(STEPS, a[:, :3], b)
