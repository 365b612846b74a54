"""A drop counts only where it stands out, and a match only against what chance gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.statistics.drops import (
    FEWEST_INTERVALS,
    FEWEST_TASKS,
    Fall,
    coincidence,
    largest_fall,
    sudden_drops,
)

STEPS = np.array([10, 20, 30, 40, 50, 60])
LONG = np.arange(10, 1810, 10)
SMOOTH = {
    "exponential": 0.5 + 2 * np.exp(-LONG / 100),
    "power": (LONG / 10) ** -0.5,
    "straight": 3 - LONG / 1000,
}


def test_a_fall_is_named_by_the_evaluations_around_it():
    assert largest_fall(STEPS, np.array([3, 2.5, 2.6, 1.0, 0.9, 0.9])) == Fall(30, 40, 1.6)
    assert largest_fall(STEPS, np.arange(6.0)) is None


def smooth_tasks(rng, course, noise=0.0):
    """Eight tasks on one course, each by a factor and from a level of its own."""
    factors, levels = rng.uniform(0.5, 2, 8), rng.uniform(0, 1, 8)
    return levels + factors * course[:, None] + rng.normal(0, noise, (len(course), 8))


@pytest.mark.parametrize("course", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("seed", range(5))
def test_smooth_decay_has_no_sudden_drop_whatever_the_tasks_pace(course, seed):
    assert sudden_drops(LONG, np.tile(course[:, None], 8)) == [None] * 8
    assert sudden_drops(LONG, smooth_tasks(np.random.default_rng(seed), course)) == [None] * 8


@pytest.mark.parametrize("course", SMOOTH.values(), ids=SMOOTH)
@given(task=st.integers(0, 7), place=st.integers(1, len(LONG) - 1), seed=st.integers(0, 2**31))
def test_a_planted_drop_of_one_task_is_found_at_its_step_and_nothing_of_its_size_elsewhere(
    course, task, place, seed
):
    losses = smooth_tasks(np.random.default_rng(seed), course)
    # Ten times what the curve does anywhere.
    losses[place:, task] -= 10 * np.abs(np.diff(losses, axis=0)).max()
    found = sudden_drops(LONG, losses)
    assert found[task].step == LONG[place]
    assert found[task].before == LONG[place - 1]
    others = [drop.size for drop in found if drop is not None and drop is not found[task]]
    assert max(others, default=0) < found[task].size / 10


def test_the_size_of_a_drop_is_what_the_other_tasks_did_not_fall_by():
    losses = np.tile(SMOOTH["straight"][:, None], 8)
    losses[50:, 2] -= 0.7
    assert sudden_drops(LONG, losses)[2].size == pytest.approx(0.7)


def test_a_drop_of_all_tasks_at_once_is_no_ones():
    losses = smooth_tasks(np.random.default_rng(0), SMOOTH["straight"])
    losses[50:] -= 1
    assert sudden_drops(LONG, losses) == [None] * 8


def test_a_sudden_rise_is_no_drop_neither_of_the_task_nor_of_those_that_stay():
    losses = smooth_tasks(np.random.default_rng(0), 1 + LONG / 1e5)
    losses[50:, 2] += 1
    losses[90:, 1:] += 1
    assert sudden_drops(LONG, losses) == [None] * 8


def test_noise_seldom_has_a_drop():
    rng = np.random.default_rng(0)
    found = [
        drop is not None
        for _ in range(50)
        for drop in (
            *sudden_drops(LONG[:60], np.cumsum(rng.normal(0, 1, (60, 8)), axis=0)),
            *sudden_drops(LONG, smooth_tasks(rng, SMOOTH["exponential"], noise=0.01)),
        )
    ]
    assert np.mean(found) < 0.03


def test_too_few_evaluations_or_tasks_are_refused():
    enough = np.zeros((FEWEST_INTERVALS + 1, FEWEST_TASKS))
    steps = LONG[: len(enough)]
    assert sudden_drops(steps, enough) == [None] * FEWEST_TASKS
    with pytest.raises(ValueError, match="11 steps or more"):
        sudden_drops(steps[1:], enough[1:])
    with pytest.raises(ValueError, match="6 tasks or more"):
        sudden_drops(steps, enough[:, 1:])


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
