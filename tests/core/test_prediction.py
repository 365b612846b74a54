"""Distance predicts loss where loss is a monotone function of it, and only there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from orchestrator.core.prediction import (
    fit_monotone,
    predict_arm,
    predict_tasks,
    rank_correlations,
)

ARMS, STEPS, TASKS = 3, 5, 20


def distances(rng):
    """Each task's nearest row in each arm comes nearer by the steps, as `cosine_min` does."""
    return -np.sort(rng.uniform(0.1, 0.9, (ARMS, STEPS, TASKS)), axis=1)


def related(rng, distance):
    return 3 * distance**2 + rng.normal(0, 0.05, distance.shape)


def unrelated(rng):
    """Drops by step and by task, whatever the distance."""
    course = np.linspace(1, 2, STEPS)[:, None] + rng.normal(0, 0.3, TASKS)
    return course + rng.normal(0, 0.05, (ARMS, STEPS, TASKS))


@pytest.mark.parametrize("seed", range(3))
def test_a_monotone_relation_predicts_left_out_tasks_and_arms_better_than_the_naive_guess(seed):
    rng = np.random.default_rng(seed)
    distance = distances(rng)
    drops = related(rng, distance)
    predicted, arm = predict_arm(distance, drops, 0)
    assert np.abs(predicted - drops[0]).mean() == pytest.approx(arm.error)
    for forecast in (arm, predict_tasks(distance, drops)):
        assert forecast.comparison.verdict == "ahead"
        assert forecast.error < 0.06  # the noise's mean absolute value is 0.04
        assert forecast.naive_error > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_an_unrelated_distance_does_not_beat_the_naive_guess(seed):
    rng = np.random.default_rng(seed)
    distance, drops = distances(rng), unrelated(rng)
    for forecast in (predict_arm(distance, drops, 1)[1], predict_tasks(distance, drops)):
        assert forecast.comparison.verdict != "ahead"
        assert forecast.error >= forecast.naive_error


def test_what_is_left_out_is_never_used():
    rng = np.random.default_rng(0)
    distance = distances(rng)
    drops = related(rng, distance)
    other = drops.copy()
    other[0] += 100
    np.testing.assert_array_equal(
        predict_arm(distance, drops, 0)[0], predict_arm(distance, other, 0)[0]
    )
    # Two tasks whose drops have nothing to do with each other's are predicted by each other.
    pair = np.array([[[0.0, 7.0]]])
    assert predict_tasks(np.array([[[-0.5, -0.5]]]), pair).error == pytest.approx(7)


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
def test_rank_correlations_are_spearmans(seed):
    rng = np.random.default_rng(seed)
    distance, drops = rng.integers(0, 8, (2, 4, 12)).astype(float)
    by_step, _ = rank_correlations(distance, drops)
    expected = [spearmanr(x, y).statistic for x, y in zip(distance, drops, strict=True)]
    np.testing.assert_allclose(by_step, expected, atol=1e-12)


def test_the_course_of_training_makes_no_pooled_correlation():
    rng = np.random.default_rng(0)
    step = np.arange(40)[:, None]
    distance, drops = -step + rng.random((40, 20)), step + rng.random((40, 20))
    assert spearmanr(distance.ravel(), drops.ravel()).statistic < -0.9
    assert abs(rank_correlations(distance, drops)[1]) < 0.1


def test_constant_values_have_no_rank_correlation():
    by_step, pooled = rank_correlations(np.array([[1.0, 1, 1], [1, 2, 3]]), np.ones((2, 3)))
    assert np.isnan(by_step).all()
    assert np.isnan(pooled)


def test_too_little_to_leave_out_is_refused():
    one = np.zeros((1, 2, 1))
    with pytest.raises(ValueError, match="tasks"):
        predict_tasks(one, one)
    with pytest.raises(ValueError, match="arms"):
        predict_arm(one, one, 0)
    with pytest.raises(ValueError, match="NaN"):
        fit_monotone(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="shape"):
        fit_monotone(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"\(S, T\)"):
        rank_correlations(np.zeros(2), np.zeros(2))
