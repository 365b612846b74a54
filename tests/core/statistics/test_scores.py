"""How scores add up over studies, and how sure their sum is."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest

from orchestrator.core.statistics.forecasting import PRIOR_ERROR
from orchestrator.core.statistics.scores import (
    Ranked,
    Score,
    count_variance,
    share_interval,
    standing,
)
from tests.core.statistics.made_up import apart, ordered


def test_a_standing_is_the_sum_of_scores_with_wilsons_interval_where_pairs_share_no_arm():
    total = standing([apart(20, 26, "one"), apart(21, 26, "other")])
    assert (total.studies, total.right, total.pairs) == (2, 41, 52)
    wilson = binomtest(41, 52).proportion_ci(0.95, method="wilsoncc")
    np.testing.assert_allclose([total.low, total.high], wilson)
    assert total.share == (41 + 2) / (52 + 3)


def right_by_chance(arms, studies):
    """P(as many pairs are right), (pairs + 1,), where each study ends in a random order."""
    one = np.ones(1)
    for arm in range(1, arms):  # an arm ends behind any number of those before it
        one = np.convolve(one, np.full(arm + 1, 1 / (arm + 1)))
    counts = np.ones(1)
    for _ in range(studies):
        counts = np.convolve(counts, one)
    return counts


@pytest.mark.parametrize("studies", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("arms", [3, 4, 6, 8, 10])
def test_random_rankings_exclude_a_coin_in_at_most_one_case_of_twenty(arms, studies):
    chance = right_by_chance(arms, studies)
    pairs = len(chance) - 1
    ranked = [
        (study * arms + ahead, study * arms + behind)
        for study in range(studies)
        for ahead, behind in combinations(range(arms), 2)
    ]
    variance = count_variance(ranked)
    assert variance == pytest.approx(studies * arms * (arms - 1) * (2 * arms + 5) / 72)
    off = np.arange(pairs + 1) - pairs / 2
    assert variance == pytest.approx(chance @ off**2)
    limits = [share_interval(right, pairs, variance) for right in range(pairs + 1)]
    excludes = [low > 0.5 or high < 0.5 for low, high in limits]
    assert chance @ excludes <= 0.05
    if arms > 3 and studies > 1:
        assert excludes[0]
        assert excludes[-1]


def test_pairs_that_share_arms_are_less_sure_than_coins_whatever_is_left_open():
    together = standing([ordered("abcdef", "abcdef")])
    coins = standing([apart(15, 15)])
    assert (together.pairs, together.high) == (coins.pairs, 1)
    assert 0.5 < together.low < coins.low
    # Two pairs that share the arm in the middle: a chain is surer than two coins, and no more so.
    chain = [("a", "b"), ("b", "c")]
    assert count_variance(chain) == pytest.approx(np.var([2, 1, 1, 1, 1, 0]))
    assert share_interval(2, 2, count_variance(chain)) == share_interval(2, 2, 2 / 4)


def test_a_pair_counts_once_however_many_studies_train_it():
    first = ordered("abc", "abc")
    more = ordered("abcd", "abdc")
    total = standing([first, more])
    assert (total.studies, total.pairs, total.right) == (2, 6, 5)
    alone = standing([more])
    assert (total.low, total.high) == (alone.low, alone.high)
    # The same once more, by other names and with one seed more, says nothing.
    renamed = Score(
        {f"arm {arm}": [f"trial of {arm}", f"seed 1 of {arm}"] for arm in "ab"},
        [Ranked("arm b", "arm a", False, True)],
        0, 0.3, relative_error=9.0,
    )  # fmt: skip
    assert standing([first, more, renamed]) == total
    assert standing([renamed]).pairs == 1


def test_arms_that_a_score_does_not_name_are_refused():
    with pytest.raises(ValueError, match="arms lacks b"):
        Score({"a": ["x"]}, [Ranked("a", "b", True, True)], 0, None)


def test_without_a_record_two_pairs_of_three_are_right_and_no_record_turns_a_forecast_round():
    nothing = standing([])
    assert (nothing.low, nothing.high, nothing.brier) == (0, 1, None)
    assert nothing.share == pytest.approx(2 / 3)
    assert nothing.relative_error == PRIOR_ERROR
    assert standing([apart(0, 100)]).share == 0.51
