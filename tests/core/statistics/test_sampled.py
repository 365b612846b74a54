"""A part of the items says of the whole set what it can, and how far it may be off."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.statistics.analysis import task_curves
from orchestrator.core.statistics.comparison import compare_arms
from orchestrator.core.statistics.sampled import complete, draw, sample_size

TASKS = st.lists(st.integers(0, 8), min_size=1, max_size=80).map(lambda t: np.array(t).astype(str))


@given(tasks=TASKS, more=st.integers(0, 80), seed=st.integers(0, 99))
def test_a_draw_has_as_many_items_as_asked_for_and_one_of_every_task(tasks, more, seed):
    count = min(len(set(tasks)) + more, len(tasks))
    drawn = draw(tasks, count, seed)
    assert len(np.unique(drawn)) == len(drawn) == count
    assert set(tasks[drawn]) == set(tasks)
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, draw(tasks, count, seed))
    assert set(draw(tasks, count // 2, seed)) <= set(drawn)


def test_of_fewer_items_than_tasks_no_task_has_two():
    tasks = np.repeat(np.arange(10).astype(str), 5)
    assert len(set(tasks[draw(tasks, 7, 0)])) == 7


def test_large_tasks_have_their_share_of_a_draw():
    tasks = np.repeat(["large", "middle", "small"], [60, 30, 10])
    drawn = tasks[draw(tasks, 20, 0)]
    assert [int((drawn == name).sum()) for name in ("large", "middle", "small")] == [12, 6, 2]


def test_every_item_of_a_task_is_drawn_as_often():
    tasks = np.repeat(["a", "b"], [4, 8])
    times = np.sum([np.isin(np.arange(12), draw(tasks, 6, seed)) for seed in range(2000)], axis=0)
    assert times / 2000 == pytest.approx(np.full(12, 0.5), abs=0.05)


@pytest.mark.parametrize(
    ("sample", "size"), [(30, 30), (3, 10), (900, 200), (0.25, 50), (0.01, 10)]
)
def test_a_sample_is_a_count_or_a_share_and_never_less_than_one_a_task(sample, size):
    assert sample_size(200, 10, sample) == size


def population(rng, tasks=12, items=20, scatter=0.3, gap=0.0):
    """Losses (S, N) that fall to a level and at a speed of each task's and item's own; their tasks.

    `gap` is by how much all of them lie lower between the ends.
    """
    sizes = rng.integers(2, items, tasks)
    task = np.repeat(np.arange(tasks), sizes)
    level = rng.normal(1.5, 0.4, tasks)[task] + rng.normal(0, 0.5, len(task))
    top = level + rng.normal(3, 0.5, tasks)[task] + rng.normal(0, 0.5, len(task))
    speed = np.exp(rng.normal(0, 0.2, tasks)[task] + rng.normal(0, scatter, len(task)))
    left = np.exp(-np.arange(8)[:, None] / 2 * speed)
    losses = level + (top - level) * left - gap
    return losses, task.astype(str)


def sampled(losses, tasks, count, seed):
    """The losses with all items at the ends alone."""
    measured = np.zeros(losses.shape, bool)
    measured[:, draw(tasks, sample_size(len(tasks), len(set(tasks)), count), seed)] = True
    measured[[0, -1]] = True
    return np.where(measured, losses, np.nan)


def test_measured_losses_stay_and_those_foretold_without_error_are_exact():
    rng = np.random.default_rng(0)
    tasks = np.repeat(["a", "b", "c"], [5, 1, 7])
    start, end = rng.normal(5, 1, 13), rng.normal(2, 1, 13)
    shares = np.array([0, 0.6, 0.9, 1])[:, None]
    losses = start + shares * (end - start)
    part = sampled(losses, tasks, 5, 0)
    found = complete(part, tasks)
    assert found.losses == pytest.approx(losses)
    assert found.margins == pytest.approx(np.zeros(4), abs=1e-9)
    known = ~np.isnan(part)
    assert np.array_equal(found.losses[known], losses[known])


def test_items_that_are_never_measured_and_steps_before_a_whole_one_are_not_estimated():
    losses = np.array([[5.0, 6.0, np.nan], [3.0, np.nan, np.nan], [2.0, 3.0, np.nan]])
    tasks = np.array(["a", "a", "b"])
    found = complete(losses, tasks)
    assert found.losses[1, 1] == pytest.approx(4.0)
    assert np.isnan(found.losses[:, 2]).all()
    assert np.isnan(complete(losses[1:], tasks).losses[0, 1])
    # A trial that was stopped: by as much as the other item of the task fell.
    assert complete(losses[:2], tasks).losses[1, 1] == pytest.approx(4.0)


def test_a_step_in_between_with_all_items_brings_the_estimates_nearer():
    rng = np.random.default_rng(0)
    margins = []
    for _ in range(20):
        losses, tasks = population(rng)
        part = sampled(losses, tasks, 24, 0)
        helped = part.copy()
        helped[3] = losses[3]
        margins.append([complete(table, tasks).margins[4] for table in (part, helped)])
    assert np.mean(margins, axis=0)[1] < 0.7 * np.mean(margins, axis=0)[0]


def test_estimated_means_are_right_on_average_and_within_their_margin_95_times_in_100():
    rng = np.random.default_rng(1)
    covered, missed, naive = [], [], []
    for seed in range(400):
        losses, tasks = population(rng)
        part = sampled(losses, tasks, 40, seed)
        found, truth = complete(part, tasks), losses.mean(axis=1)
        off = found.losses.mean(axis=1) - truth
        covered.append(np.abs(off[1:-1]) <= found.margins[1:-1])
        missed.append(off[1:-1])
        naive.append((np.nanmean(part, axis=1) - truth)[1:-1])
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.abs(np.mean(missed, axis=0)).max() < 0.005
    # The spread of the items' own levels, which a plain mean of the part would have, is gone.
    assert np.std(missed) < 0.6 * np.std(naive)


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_interval_of_two_arms_covers_the_truth_95_times_in_100_with_a_part_of_the_items(
    count, seeds
):
    rng = np.random.default_rng(2)
    steps, covered = np.arange(8), []
    for number in range(250):
        arms = [[], []]
        losses, tasks = population(rng)
        by_task = rng.normal(0.05, 0.05, len(tasks))[np.unique(tasks, return_inverse=True)[1]]
        for _ in range(seeds):
            noise = rng.normal(0, 0.1, (2, *losses.shape)) * (steps > 0)[:, None]
            by_seed = rng.normal(0, 0.02) if seeds > 1 else 0.0
            for arm, shift in enumerate((-by_task - by_seed, 0)):
                own = losses + (noise[arm] + shift) * (steps > 0)[:, None]
                part = complete(sampled(own, tasks, count, number), tasks).losses
                curves = task_curves(
                    np.repeat(steps, len(tasks)), [*tasks] * len(steps), part.ravel()
                )
                arms[arm].append(curves.losses)
        by_step, by_area = compare_arms(steps, *map(np.stack, arms))
        covered.append(
            [by_step[3].low <= -0.05 <= by_step[3].high,
             by_area.low <= -0.05 * 13 / 14 <= by_area.high]
        )  # fmt: skip
    assert (np.mean(covered, axis=0) >= 0.92).all()
    if seeds == 1:  # more seeds are allowed for by more than they need
        assert (np.mean(covered, axis=0) <= 0.985).all()
