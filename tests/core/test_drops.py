"""A drop counts only where it stands out, and a match only against what chance gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.drops import Fall, coincidence, largest_fall, sudden_drop

STEPS = np.array([10, 20, 30, 40, 50, 60])


def test_a_fall_is_named_by_the_evaluations_around_it():
    assert largest_fall(STEPS, np.array([3, 2.5, 2.6, 1.0, 0.9, 0.9])) == Fall(30, 40, 1.6)
    assert largest_fall(STEPS, np.arange(6.0)) is None


@given(st.integers(1, 5), st.integers(0, 2**31))
def test_a_planted_drop_is_found_where_it_is(place, seed):
    losses = 3 - 0.01 * np.arange(6) + np.random.default_rng(seed).uniform(0, 0.005, 6)
    losses[place:] -= 1
    drop = sudden_drop(STEPS, losses)
    assert drop.step == STEPS[place]
    assert drop.size == pytest.approx(1.01, abs=0.006)


def test_an_even_fall_has_no_sudden_drop():
    assert sudden_drop(STEPS, np.linspace(3, 1, 6)) is None
    assert sudden_drop(STEPS, 2 * np.exp(-np.arange(6) / 3)) is None


def test_a_sudden_rise_is_no_drop():
    assert sudden_drop(STEPS, np.array([1, 0.99, 0.98, 2.0, 1.99, 1.98])) is None


def test_noise_seldom_has_a_drop():
    rng = np.random.default_rng(0)
    steps = np.arange(20)
    found = sum(sudden_drop(steps, np.cumsum(rng.normal(0, 1, 20))) is not None for _ in range(300))
    assert found / 300 < 0.1


def test_three_intervals_are_needed():
    losses = np.array([3.0, 2.99, 1.0, 0.99])
    assert sudden_drop(STEPS[:4], losses).step == 30
    assert sudden_drop(STEPS[:3], losses[:3]) is None


def test_drops_that_come_with_their_near_rows_beat_chance():
    found = coincidence(STEPS, STEPS)
    assert (found.matched, found.drops) == (6, 6)
    assert found.by_chance == pytest.approx(1)  # a random permutation has one fixed point
    assert found.p_value < 0.01


def test_a_step_at_which_everything_happens_proves_nothing():
    found = coincidence([20] * 8, [20] * 8)
    assert found.matched == found.by_chance == 8
    assert found.p_value == 1


def test_p_values_of_unrelated_drops_are_those_of_chance():
    rng = np.random.default_rng(0)
    values = [
        coincidence(rng.choice(STEPS, 12), rng.choice(STEPS, 12), permutations=500).p_value
        for _ in range(300)
    ]
    assert np.mean(np.array(values) <= 0.05) <= 0.08
    assert np.mean(values) > 0.4


@pytest.mark.parametrize(("drops", "nears"), [([], []), ([10], [10, 20])])
def test_drops_without_near_rows_are_refused(drops, nears):
    with pytest.raises(ValueError, match="near rows"):
        coincidence(drops, nears)
