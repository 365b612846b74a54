"""How sure a forecast is, how it is scored, and how scores add up over studies."""

import numpy as np
import pytest

from orchestrator.core.statistics.forecasting import (
    WIDTH,
    brier,
    curve_errors,
    half_width,
    pair_probabilities,
    standard_error,
)
from orchestrator.core.statistics.scores import (
    standing,
)
from tests.core.statistics.made_up import apart


def test_a_usual_gap_without_spread_is_as_probable_as_the_forecaster_was_right_before():
    gaps = np.array([-0.3, 0.3])
    np.testing.assert_allclose(pair_probabilities(gaps, np.zeros(2), 0.8), [0.8, 0.2])
    np.testing.assert_allclose(pair_probabilities(1000 * gaps, np.zeros(2), 0.8), [0.8, 0.2])


def test_a_larger_gap_is_surer_and_a_larger_spread_less_sure():
    small, large = pair_probabilities(np.array([-0.1, -0.3]), np.zeros(2), 2 / 3)
    assert 0.5 < small < 2 / 3 < large < 1
    assert 0.5 < pair_probabilities(np.array([-0.1, -0.3]), np.full(2, 0.5), 2 / 3)[1] < large


def test_no_gap_is_left_open():
    open_, ranked = pair_probabilities(np.array([1e-16, -1.0]), np.zeros(2), 0.9)
    assert open_ == 0.5
    assert ranked == pytest.approx(0.9)  # a pair without a gap makes no other one surer
    assert pair_probabilities(np.zeros(3), np.ones(3), 0.9).tolist() == [0.5] * 3
    assert len(pair_probabilities(np.zeros(0), np.zeros(0), 0.9)) == 0
    with pytest.raises(ValueError, match="share must be in"):
        pair_probabilities(np.zeros(1), np.zeros(1), 0.5)


def test_the_interval_follows_the_error_of_earlier_studies_and_never_narrows_along_a_curve():
    errors = standing(
        [apart(1, 1, "one", relative_error=0.1), apart(1, 1, "other", relative_error=0.3)]
    )
    assert errors.relative_error == pytest.approx(np.sqrt((0.25 + 0.01 + 0.09) / 3))
    half = half_width(np.array([3.0, 2.0, 2.5]), 0.5)
    np.testing.assert_allclose(half, WIDTH * 0.5 * np.array([0.0, 1.0, 1.0]))


def test_the_brier_score_is_a_quarter_for_always_one_half_and_0_for_the_truth():
    ahead = np.array([1.0, 0.0, 1.0])
    assert brier(np.full(3, 0.5), ahead) == 0.25
    assert brier(ahead, ahead) == 0
    assert brier(np.array([0.8]), np.array([0.0])) == pytest.approx(0.64)
    assert brier(np.zeros(0), np.zeros(0)) is None


def test_a_shift_that_all_arms_share_is_an_error_of_losses_but_not_of_gaps():
    measured = np.array([[3.0, 2.0, 1.0], [3.0, 2.4, 2.0]])
    error, gap_error, naive_error, relative = curve_errors(
        measured + np.array([0, 0.5, 0.5]), measured
    )
    assert error == pytest.approx(0.5)
    assert gap_error == pytest.approx(0)
    assert naive_error == pytest.approx((0.2 + 0.5) / 2)
    change = np.sqrt(np.mean(np.square([0.5, 1.5, 0.1, 0.5])))
    assert relative == pytest.approx(0.5 / change)
    with pytest.raises(ValueError, match="2 steps or more"):
        curve_errors(measured[:, :1], measured[:, :1])


def test_the_spread_is_the_standard_error_over_tasks():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)
    assert standard_error(np.array([1.0])) == 0
