"""Residual turns against a plain version that inverts the matrix anew for every pick."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import arrange, residual
from orchestrator.core.arrangements.residual import query_weights
from orchestrator.core.posterior import Posterior
from orchestrator.core.units import groups
from tests.core.lists import plain_lists
from tests.core.pools import make_request, pool_with_duplicates, unit_rows


def plain_worth(query, pool, seen, rho):
    """k_S(q, x) / sqrt(1 + rho k_S(x, x)) of every unit x, by its definition."""
    taken = pool[np.array(seen, int)]
    a = np.linalg.inv(np.eye(pool.shape[1]) + rho * taken.T @ taken)
    return pool @ (a @ query) / np.sqrt(1 + rho * np.einsum("ij,jk,ik->i", pool, a, pool))


def plain_turns(pool, queries, rho, losses=None, candidates=256):
    """Turns of the whole pool: one query after another, all its candidates weighed anew."""
    weights = [1.0] * len(queries)
    if losses is not None:
        mean = np.mean(losses[~np.isnan(losses)])
        weights = [1.0 if np.isnan(loss) else loss / mean for loss in losses]
    ranked, _ = plain_lists(queries, pool)
    pool, queries = pool.astype(np.float64), queries.astype(np.float64)
    order = sorted(range(len(queries)), key=lambda query: (-weights[query], query))
    credit, seen, turns = [0.0] * len(queries), [], []
    while len(seen) < len(pool):
        turn = []
        for query in order:
            credit[query] += weights[query]
            while credit[query] > 1 - 1e-9 and len(seen) < len(pool):
                credit[query] -= 1
                near = [unit for unit in ranked[query].tolist() if unit not in seen][:candidates]
                worth = plain_worth(queries[query], pool, seen, rho)[near]
                slack = 1e-9 * abs(worth.max()) + 1e-12
                turn.append(min(np.array(near)[worth >= worth.max() - slack].tolist()))
                seen.append(turn[-1])
        turns.append(turn)
    return turns


def residual_plan(pool, queries, rho, **options):
    options = {"selection": "nearest", "rows": len(pool)} | options
    return arrange("tma", make_request(pool, queries, options={"redundancy": rho}, **options))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 50),
    queries=st.integers(1, 9),
    distinct=st.integers(1, 30),
    depth=st.integers(1, 8),
    rho=st.sampled_from([0.01, 1.0, 30.0, 1000.0]),
    candidates=st.sampled_from([1, 3, 256]),
    lost=st.sampled_from([None, 0, 2]),
)
def test_turns_equal_those_of_a_matrix_inverted_anew_for_every_pick(
    seed, rows, queries, distinct, depth, rho, candidates, lost
):
    """With duplicates, short lists, fewer candidates than units, and losses of which some lack."""
    rng = np.random.default_rng(seed)
    pool, test = pool_with_duplicates(seed, rows, distinct), unit_rows(rng, queries)
    losses = None
    if lost is not None:
        losses = rng.uniform(0.2, 4, queries)
        losses[rng.permutation(queries)[: min(lost, queries - 1)]] = np.nan
    with patch.object(residual, "CANDIDATES", candidates):
        plan = residual_plan(pool, test, rho, depth=depth, losses=losses)
    expected = plain_turns(pool, test, rho, losses, candidates)
    assert plan.rows.tolist() == [row for turn in expected for row in sorted(turn)]
    assert plan.turn.tolist() == [t for t, turn in enumerate(expected) for _ in turn]


@pytest.mark.parametrize("rho", [0.1, 5.0, 1000.0])
def test_the_best_unit_is_found_however_long_ago_it_was_last_looked_at(rho):
    """Variances that are brought up to date, and those made anew, past the ring of 32 of d = 8."""
    rng = np.random.default_rng(1)
    pool, queries = pool_with_duplicates(1, 150, 100), unit_rows(rng, 9).astype(np.float64)
    posterior, seen = Posterior(pool, rho), []
    for pick in range(150):
        query = queries[pick % 9]
        looked_at = rng.permutation(5 if pick % 50 else 150)[:40]
        worth = plain_worth(query, pool.astype(np.float64), seen, rho)[looked_at]
        best = looked_at[worth >= worth.max() - 1e-9 * abs(worth.max())]
        assert looked_at[posterior.best(query, looked_at)] == best.min()
        seen.append(int(rng.integers(0, 150)))
        posterior.see(seen[-1])


def test_without_redundancy_the_plan_is_that_of_tma_and_no_losses_are_needed():
    rng = np.random.default_rng(2)
    pool, queries = pool_with_duplicates(2, 80, 50), unit_rows(rng, 7)
    plain = arrange("tma", make_request(pool, queries, selection="nearest", rows=40))
    plan = residual_plan(pool, queries, 0.0, rows=40, losses=np.arange(7.0))
    for column in ("rows", "turn", "unit", "distance"):
        np.testing.assert_array_equal(getattr(plan, column), getattr(plain, column))
    assert plan.note == plain.note == ""


def test_as_redundancy_vanishes_each_query_takes_its_nearest_unit():
    """One after another, as those of `rds` do."""
    rng = np.random.default_rng(3)
    pool, queries = pool_with_duplicates(3, 90, 60), unit_rows(rng, 8)
    plan, rds = residual_plan(pool, queries, 1e-9), arrange("rds", make_request(pool, queries))
    for turn in range(12):
        assert set(plan.rows[plan.turn == turn]) == set(rds.rows[rds.turn == turn])
    at = np.argsort(plan.rows), np.argsort(rds.rows)
    np.testing.assert_array_equal(plan.distance[at[0]], rds.distance[at[1]])


def test_a_duplicate_of_what_was_taken_is_passed_over():
    """The second nearest says nothing new of the query; the third is at a right angle to it."""
    query = np.array([[0.8, 0.6, 0.0]], np.float32)
    pool = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    assert arrange("rds", make_request(pool, query)).rows.tolist() == [0, 1, 2]
    assert residual_plan(pool, query, 10.0).rows.tolist() == [0, 2, 1]


def test_queries_take_units_by_their_loss_and_carry_the_rest_over():
    rng = np.random.default_rng(4)
    pool, queries = unit_rows(rng, 40), unit_rows(rng, 3)
    plan = residual_plan(pool, queries, 1.0, turns=4, rows=None, losses=np.array([2.0, 1.0, 1.0]))
    # 1.5, 0.75 and 0.75 of a unit in a turn.
    assert np.bincount(plan.turn).tolist() == [1, 4, 3, 4]
    assert plan.note == "a query takes 0.75 to 1.50 units in a turn, by its loss"


def test_queries_of_equal_loss_take_one_unit_each_in_every_turn():
    losses = np.full(3, 0.1)
    assert np.all(query_weights(losses, 3) < 1)  # by rounding
    rng = np.random.default_rng(5)
    plan = residual_plan(unit_rows(rng, 30), unit_rows(rng, 3), 1.0, losses=losses)
    assert np.bincount(plan.turn).tolist() == [3] * 10


def test_a_query_without_a_loss_counts_as_the_mean_and_none_at_all_as_equal():
    weights = query_weights(np.array([3.0, np.nan, 1.0]), 3)
    assert weights.tolist() == [1.5, 1.0, 0.5]
    for nothing in (None, np.zeros(3), np.full(3, np.nan)):
        assert query_weights(nothing, 3).tolist() == [1, 1, 1]


def test_budgets_windows_tasks_and_the_order_within_a_turn_hold_as_without_redundancy():
    rng = np.random.default_rng(6)
    pool, queries = unit_rows(rng, 90), unit_rows(rng, 6)
    whole = residual_plan(pool, queries, 2.0)
    cut = residual_plan(pool, queries, 2.0, rows=20)
    assert cut.rows.tolist() == whole.rows[:20].tolist()
    uncut = residual_plan(pool, queries, 2.0, rows=20, cut=False)
    assert uncut.rows.tolist() == whole.rows[:24].tolist()
    window = residual_plan(pool, queries, 2.0, rows=None, turn_window=(2, 5))
    assert window.rows.tolist() == whole.rows[12:30].tolist()
    near = residual_plan(pool, queries, 2.0, within_turn="distance")
    for turn in range(15):
        assert np.all(np.diff(near.distance[near.turn == turn]) >= 0)
    far_first = residual_plan(pool, queries, 2.0, rows=20, order="farthest_first")
    assert far_first.rows.tolist() == cut.rows[::-1].tolist()
    tokens = residual_plan(
        pool, queries, 2.0, rows=None, answers=np.full(90, 3), answer_tokens=61, turns=9
    )
    assert tokens.rows.tolist() == whole.rows[:20].tolist()
    tasks = rng.integers(0, 9, 90)
    moved = tasks[residual_plan(pool, queries, 2.0, units=groups(tasks)).rows]
    assert np.count_nonzero(np.diff(moved)) == len(np.unique(tasks)) - 1


@pytest.mark.parametrize("selection", ["farthest", "both_ends", "all"])
def test_turns_from_elsewhere_than_the_near_end_are_refused_redundancy(selection):
    rng = np.random.default_rng(7)
    rows = None if selection == "all" else 5
    with pytest.raises(ValueError, match="set selection: nearest"):
        residual_plan(unit_rows(rng, 9), unit_rows(rng, 2), 1.0, selection=selection, rows=rows)
