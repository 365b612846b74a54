"""Distance predicts loss where loss is a monotone function of it, and only there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from orchestrator.core.statistics.prediction import (
    fit_monotone,
    from_others,
    predict_arm,
    predict_tasks,
    rank_correlation,
)

ARMS, STEPS, TASKS = 3, 5, 20
COURSE = np.linspace(1, 2, STEPS)[:, None]


def distances(rng):
    """Each task's nearest row in each arm comes nearer by the steps, as `cosine_min` does."""
    return -np.sort(rng.uniform(0.1, 0.9, (ARMS, STEPS, TASKS)), axis=1)


def offsets(rng):
    """Drops by step and by task."""
    return COURSE + rng.normal(0, 0.3, TASKS)


@pytest.mark.parametrize("seed", range(3))
def test_drops_of_task_offset_minus_distance_are_predicted_for_an_arm_left_out(seed):
    rng = np.random.default_rng(seed)
    distance = distances(rng)
    drops = offsets(rng) - distance
    for arm in range(ARMS):
        predicted, forecast = predict_arm(distance, drops, arm)
        assert np.abs(predicted - drops[arm]).mean() == pytest.approx(forecast.error)
        assert forecast.error < forecast.naive_error / 10
        assert forecast.comparison.verdict == "ahead"


@pytest.mark.parametrize("seed", range(3))
def test_a_relation_between_tasks_predicts_those_left_out(seed):
    rng = np.random.default_rng(seed)
    distance = distances(rng)
    exact = predict_tasks(distance, COURSE - distance)
    assert exact.error < exact.naive_error / 10
    curved = predict_tasks(distance, 3 * distance**2 + rng.normal(0, 0.05, distance.shape))
    assert curved.error < curved.naive_error / 2
    assert exact.comparison.verdict == curved.comparison.verdict == "ahead"


@pytest.mark.parametrize("seed", range(3))
def test_an_unrelated_distance_gains_nothing(seed):
    rng = np.random.default_rng(seed)
    distance = distances(rng)
    drops = offsets(rng) + rng.normal(0, 0.05, distance.shape)
    for forecast in (predict_arm(distance, drops, 1)[1], predict_tasks(distance, drops)):
        assert forecast.comparison.verdict != "ahead"
        assert forecast.error == pytest.approx(forecast.naive_error, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_a_distance_that_falls_with_the_steps_but_tells_no_task_gains_nothing(seed):
    rng = np.random.default_rng(seed)
    course = np.broadcast_to(-COURSE, (ARMS, STEPS, TASKS))
    drops = 5 * COURSE + rng.normal(0, 0.1, course.shape)
    distance = course + rng.normal(0, 0.01, course.shape)
    for forecast in (predict_arm(distance, drops, 0)[1], predict_tasks(distance, drops)):
        assert forecast.comparison.verdict != "ahead"


def test_the_arm_left_out_is_never_used():
    rng = np.random.default_rng(0)
    distance = distances(rng)
    drops = offsets(rng) - distance
    other = drops.copy()
    other[0] = rng.normal(100, 10, other[0].shape)
    np.testing.assert_array_equal(
        predict_arm(distance, drops, 0)[0], predict_arm(distance, other, 0)[0]
    )


@given(drops=st.tuples(*[st.floats(-10, 10)] * 3))
def test_tasks_left_out_are_never_used(drops):
    """Three tasks at one distance: each is guessed as the mean of the other two, whatever it is."""
    drops = np.array(drops)
    found = predict_tasks(np.full((1, 1, 3), -0.5), drops[None, None])
    expected = np.mean([abs(drops[i] - np.delete(drops, i).mean()) for i in range(3)])
    assert found.error == pytest.approx(expected, abs=1e-9)
    assert found.naive_error == pytest.approx(expected, abs=1e-9)


def test_deviations_are_from_the_mean_of_the_others():
    np.testing.assert_allclose(from_others(np.array([[1.0, 2, 6]]), 1), [[-3, -1.5, 4.5]])


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(-5, 5)), min_size=1, max_size=30))
def test_the_fit_never_rises_and_keeps_the_mean(pairs):
    x, y = (np.array(column, float) for column in zip(*pairs, strict=True))
    fit = fit_monotone(x, y)
    assert np.all(np.diff(fit.drops) <= 1e-9)
    assert fit.predict(x).mean() == pytest.approx(y.mean(), abs=1e-9)


def test_the_fit_of_a_falling_relation_is_the_relation():
    x = np.array([[3.0, 1.0], [2.0, 5.0]])
    fit = fit_monotone(x, -(x**3))
    np.testing.assert_allclose(fit.predict(x), -(x**3))
    assert fit.predict(np.array([-9.0, 9.0])).tolist() == [-1.0, -125.0]  # constant outside


@given(st.integers(0, 2**31))
def test_the_rank_correlation_of_one_step_is_spearmans(seed):
    distance, drops = np.random.default_rng(seed).integers(0, 8, (2, 1, 12)).astype(float)
    expected = spearmanr(distance[0], drops[0]).statistic
    assert rank_correlation(distance, drops) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_course_of_training_makes_no_rank_correlation():
    rng = np.random.default_rng(0)
    step = np.arange(40)[:, None]
    distance, drops = -step + rng.random((40, 20)), step + rng.random((40, 20))
    assert spearmanr(distance.ravel(), drops.ravel()).statistic < -0.9
    assert abs(rank_correlation(distance, drops)) < 0.1
    assert rank_correlation(distance, -distance) == pytest.approx(-1)


def test_constant_or_missing_values_have_no_rank_correlation():
    rising = np.array([[1.0, 2, 3], [1, 2, 3]])
    assert np.isnan(rank_correlation(rising, np.ones((2, 3))))
    rising[0, 0] = np.nan
    assert np.isnan(rank_correlation(rising, np.arange(6.0).reshape(2, 3)))


def test_too_little_to_leave_out_is_refused():
    two = np.zeros((2, 4, 2))
    with pytest.raises(ValueError, match="3 tasks or more"):
        predict_tasks(two, two)
    with pytest.raises(ValueError, match="3 arms or more"):
        predict_arm(two, two, 0)
    with pytest.raises(ValueError, match="both"):
        predict_tasks(np.zeros((2, 4, 3)), np.zeros((2, 4, 4)))
    with pytest.raises(ValueError, match="NaN"):
        fit_monotone(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="shape"):
        fit_monotone(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"\(S, T\)"):
        rank_correlation(np.zeros(2), np.zeros(2))
