"""The interval of a gap between two arms covers it as often as it says."""

import numpy as np
import pytest

from orchestrator.core.statistics.analysis import area_under_curve
from orchestrator.core.statistics.comparison import (
    FEWEST_TASKS,
    LEVEL,
    compare_arms,
    compare_several,
    compare_with_start,
)

STEPS = np.array([0, 10, 30])
NAN = float("nan")


def arms(gap: float, tasks: int = 12, noise: float = 0.02):
    """Two arms that start equal; from step 10 on A is `gap` below B in the mean over tasks."""
    rng = np.random.default_rng(7)
    b = np.array([[3.0], [2.0], [1.5]]) + rng.normal(0, 0.5, tasks)
    scatter = rng.normal(0, noise, (2, tasks))
    a = b.copy()
    a[1:] += scatter - scatter.mean(axis=1, keepdims=True) - gap
    return a[None], b[None]


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
    expected = (area_under_curve(STEPS, a[0]) - area_under_curve(STEPS, b[0])).mean()
    assert by_area.difference == pytest.approx(expected)
    assert (by_area.tasks_ahead, by_area.tasks) == (12, 12)


def test_interval_is_that_of_the_mean_over_tasks():
    rng = np.random.default_rng(0)
    a = rng.normal(1.0, 0.5, (1, 1, 400))
    result = compare_arms(np.array([0]), a, np.zeros((1, 1, 400)))[1]
    assert result.low < 1.0 < result.high
    assert result.high - result.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)


def test_interval_covers_the_true_mean_about_95_times_in_100_even_with_ten_tasks():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        a = rng.normal(1.0, 0.5, (1, 1, 10))
        result = compare_arms(np.array([0]), a, np.zeros((1, 1, 10)))[1]
        covered += result.low < 1.0 < result.high
    assert 0.925 <= covered / 400 <= 0.975


def test_pairing_removes_what_tasks_have_in_common():
    by_area = compare_arms(STEPS, *arms(0.3, noise=0.0))[1]  # tasks differ by 0.5, the gap never
    assert by_area.high - by_area.low == pytest.approx(0, abs=1e-9)


def test_few_tasks_give_no_verdict_however_large_the_gap():
    assert compare_arms(STEPS, *arms(9.0, FEWEST_TASKS))[1].verdict == "ahead"
    assert compare_arms(STEPS, *arms(9.0, FEWEST_TASKS - 1))[1].verdict == "no clear difference"


def test_a_task_without_a_loss_in_one_arm_is_left_out_of_both():
    a, b = arms(0.3)
    a[0, 1, 0], b[0, 2, 1] = NAN, NAN
    by_step, by_area = compare_arms(STEPS, a, b)
    kept = compare_arms(STEPS, a[..., 2:], b[..., 2:])
    assert (by_step, by_area) == kept


def test_arms_that_share_no_task_or_differ_in_shape_are_refused():
    a, b = arms(0.3)
    with pytest.raises(ValueError, match="no task"):
        compare_arms(STEPS, np.full_like(a, NAN), b)
    with pytest.raises(ValueError, match="shapes"):
        compare_arms(STEPS, a[..., :3], b)
    with pytest.raises(ValueError, match="shapes"):
        compare_arms(STEPS, a[0], b[0])


def gaps(rng, seeds, tasks, by_seed, by_task, by_cell):
    """A difference of 1 with noise of each kind, as a (K, 1, T) arm against zeros."""
    return (
        1
        + rng.normal(0, by_seed, (seeds, 1, 1))
        + rng.normal(0, by_task, (1, 1, tasks))
        + rng.normal(0, by_cell, (seeds, 1, tasks))
    )


@pytest.mark.parametrize(
    ("seeds", "tasks", "by_seed", "by_task", "by_cell"),
    [
        (2, 225, 0.3, 1.0, 0.0),
        (2, 225, 0.3, 1.0, 1.0),
        (2, 10, 1.0, 1.0, 0.0),
        (2, 10, 0.2, 0.5, 0.2),
        (3, 20, 0.2, 0.5, 0.5),
        (5, 30, 0.1, 0.3, 0.3),
    ],
)
def test_interval_over_tasks_and_seeds_covers_the_truth_95_times_in_100(
    seeds, tasks, by_seed, by_task, by_cell
):
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        a = gaps(rng, seeds, tasks, by_seed, by_task, by_cell)
        result = compare_arms(np.array([0]), a, np.zeros_like(a))[1]
        covered += result.low < 1 < result.high
    assert covered / 500 >= 0.94


def test_the_interval_of_two_seeds_is_wide_and_that_of_five_is_not():
    rng = np.random.default_rng(3)
    spread = {"task": 0.5, "seed": 0.1}
    for seeds, widest in {2: 5, 3: 2.2, 5: 1.5}.items():
        known = 2 * 1.96 * np.hypot(spread["task"] / 40**0.5, spread["seed"] / seeds**0.5)
        tables = [gaps(rng, seeds, 40, spread["seed"], spread["task"], 0) for _ in range(200)]
        found = [compare_arms(np.array([0]), a, np.zeros_like(a))[1] for a in tables]
        assert 1 < np.median([result.high - result.low for result in found]) / known < widest


def test_tasks_alone_would_claim_too_much_where_seeds_differ():
    rng = np.random.default_rng(2)
    covered = {"one seed": 0, "three": 0}
    for _ in range(200):
        a = gaps(rng, 3, 20, by_seed=0.5, by_task=0.2, by_cell=0.1)
        for name, part in {"one seed": a[:1], "three": a}.items():
            result = compare_arms(np.array([0]), part, np.zeros_like(part))[1]
            covered[name] += result.low < 1 < result.high
    assert covered["one seed"] < 100
    assert covered["three"] > 180


def test_seeds_are_paired_so_that_what_they_share_cancels():
    a, b = arms(0.3)
    shared = np.array([0.0, 5.0, -5.0])[:, None, None]
    together = compare_arms(STEPS, a + shared, b + shared)[1]
    assert together.low == pytest.approx(compare_arms(STEPS, a, b)[1].low, abs=0.01)
    crossed = compare_arms(STEPS, a + shared, b + shared[::-1])[1]
    assert crossed.high - crossed.low > 10


def test_training_is_compared_with_the_untouched_model():
    curve = np.array([2.0, 1.0, 1.5])[None, :, None] + np.linspace(0, 1, 8)
    fallen = compare_with_start(curve)
    assert (fallen.difference, fallen.verdict) == (pytest.approx(-0.5), "ahead")
    assert compare_with_start(curve[:, ::-1]).verdict == "behind"


def test_the_interval_over_tasks_alone_lies_inside_and_is_it_with_one_seed():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, 3, 20)) + rng.normal(size=(2, 1, 1))
    _, both = compare_arms(np.arange(3), a, np.zeros_like(a))
    assert both.low < both.low_tasks < both.difference < both.high_tasks < both.high
    _, one = compare_arms(np.arange(3), a[:1], np.zeros_like(a[:1]))
    assert (one.low_tasks, one.high_tasks) == (one.low, one.high)


def test_a_seed_that_changed_nothing_is_no_repetition():
    a = np.random.default_rng(0).normal(size=(1, 3, 20))
    steps, zero = np.arange(3), np.zeros_like(a)
    _, once = compare_arms(steps, a, zero)
    _, repeated = compare_arms(steps, np.concatenate([a, a]), np.concatenate([zero, zero]))
    assert repeated == once
    _, twice = compare_arms(steps, np.concatenate([a, a + 1e-9]), np.concatenate([zero, zero]))
    assert twice.seeds == 2


def several(gaps, *, seeds=3, tasks=12, noise=0.1, seed=0):
    """Arms that lie `gaps` below one baseline, at one step, with noise of their own."""
    rng = np.random.default_rng(seed)
    base = rng.normal(2, 0.5, (seeds, 1, tasks))
    return [(base - gap + rng.normal(0, noise, base.shape), base) for gap in gaps]


def test_of_several_arms_the_least_p_is_held_against_a_level_divided_by_their_number():
    pairs = several([0.0, 0.3, -0.2, 0.05])
    alone = [compare_arms(STEPS[:1], *pair)[1] for pair in pairs]
    results = compare_several(STEPS[:1], pairs)
    order = sorted(range(4), key=lambda at: results[at].p)
    largest = 0.0
    for passed, at in enumerate(order):
        result, single = results[at], alone[at]
        largest = max(largest, min(1.0, (4 - passed) * result.p))
        assert result.p_holm == pytest.approx(largest)
        assert result.comparison.difference == single.difference
        wider = result.comparison.high - result.comparison.low
        assert wider >= (single.high - single.low) * (1 - 1e-9)
        assert (result.p < LEVEL) == (not single.low <= 0 <= single.high)
        assert (result.comparison.verdict != "no clear difference") == (result.p_holm < LEVEL)
    assert results[1].comparison.verdict == "ahead"
    assert results[2].comparison.verdict == "behind"


def test_a_corrected_interval_leaves_out_0_where_its_arm_is_called_clear_and_nowhere_else():
    clear = 0
    for seed in range(40):
        for result in compare_several(STEPS[:1], several([0.0, 0.06, 0.08, 0.1], seed=seed)):
            found = result.comparison
            clear += found.verdict != "no clear difference"
            assert (found.verdict != "no clear difference") == (not found.low <= 0 <= found.high)
            assert (result.p_holm < LEVEL) == (found.verdict != "no clear difference")
    assert 20 < clear < 140, "some are, some are not"


def test_one_task_of_one_seed_says_nothing():
    (result,) = compare_several(STEPS[:1], several([0.3], seeds=1, tasks=1))
    assert result.p == result.p_holm == 1


def test_one_arm_against_another_needs_no_correction():
    (pair,) = several([0.1])
    (result,) = compare_several(STEPS[:1], [pair])
    assert result.comparison == compare_arms(STEPS[:1], *pair)[1]
    assert result.p_holm == result.p


def test_an_arm_behind_one_that_fails_is_not_called_clear_whatever_its_own_level():
    pairs = several([0.0, 0.0, 0.095], noise=0.15, seed=1)
    results = compare_several(STEPS[:1], pairs)
    least = min(results, key=lambda result: result.p)
    assert LEVEL / 3 < least.p < LEVEL, "clear alone, not among three"
    assert {result.comparison.verdict for result in results} == {"no clear difference"}


def test_among_arms_that_do_not_differ_a_false_word_is_rarer_than_one_in_twenty():
    false = sum(
        any(
            result.comparison.verdict != "no clear difference"
            for result in compare_several(STEPS[:1], several([0.0] * 5, seeds=5, seed=seed))
        )
        for seed in range(100)
    )
    assert false <= 9  # of a binomial with 0.05, one time in 40 or less often


def test_the_best_of_arms_that_do_not_differ_is_seldom_called_clear_if_all_pairs_count():
    """It was picked by the losses that are compared: to count the other arms is too few."""
    false = {9: 0, 45: 0}
    for seed in range(100):
        # Of fewer tasks than a bootstrap takes, where p alone tells, and fast.
        arms = np.random.default_rng(seed).normal(size=(10, 1, 1, FEWEST_TASKS - 1))
        best, *others = sorted(arms, key=np.mean)
        for family in false:
            results = compare_several(STEPS[:1], [(arm, best) for arm in others], family)
            false[family] += any(result.p_holm < LEVEL for result in results)
    assert false[45] <= 5
    assert false[9] > 10


def test_the_best_of_many_arms_can_be_clear():
    """Of 40 arms the level of a pair is below the least p of a bootstrap."""
    arms = [arm for arm, _ in several([1.0, *[0.0] * 39], seeds=1)]
    results = compare_several(STEPS[:1], [(arm, arms[0]) for arm in arms[1:]], 780)
    assert {result.comparison.verdict for result in results} == {"behind"}
