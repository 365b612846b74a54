"""TMA against a plain transcription of the paper's procedure."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import arrange
from orchestrator.core.plan import set_digest
from orchestrator.core.units import groups
from tests.core.pools import make_request, pool_with_duplicates, unit_rows


def plain_turns(pool, queries, *, farthest=False):
    """Each turn a full argmin a query over what is left; ties to the lowest row."""
    distance = -(pool.astype(np.float64)[None] * queries.astype(np.float64)[:, None]).sum(axis=2)
    if farthest:
        distance = -distance
    left, turns = list(range(len(pool))), []
    while left:
        turn = sorted({left[int(np.argmin(row))] for row in distance[:, left]})
        turns.append(turn)
        left = [row for row in left if row not in turn]
    return turns


@pytest.mark.scenario("duplicates", "many-queries")
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 60),
    queries=st.integers(1, 70),
    distinct=st.integers(1, 12),
    depth=st.integers(1, 8),
    shard_rows=st.integers(1, 80),
    farthest=st.booleans(),
)
def test_turns_equal_the_plain_procedure_with_duplicates_short_lists_and_any_sharding(
    seed, rows, queries, distinct, depth, shard_rows, farthest
):
    pool = pool_with_duplicates(seed, rows, distinct)
    test = unit_rows(np.random.default_rng(seed + 1), queries)
    order = "farthest_first" if farthest else "nearest_first"
    plan = arrange(
        "tma",
        make_request(pool, test, depth=depth, shard_rows=shard_rows, selection="all", order=order),
    )
    expected = plain_turns(pool, test, farthest=farthest)
    assert plan.rows.tolist() == [row for turn in expected for row in turn]
    turn_of = [t for t, turn in enumerate(expected) for _ in turn]
    assert plan.turn.tolist() == [-t - 1 if farthest else t for t in turn_of]


@pytest.mark.scenario("many-queries")
def test_ten_thousand_queries_use_up_a_pool_in_the_memory_of_their_lists_and_without_a_matrix():
    rng = np.random.default_rng(0)
    pool, queries = unit_rows(rng, 20_000), unit_rows(rng, 10_000)
    request = make_request(pool, queries, depth=64, selection="all", order="nearest_first")
    tracemalloc.start()
    plan = arrange("tma", request)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sorted(plan.rows) == list(range(len(pool)))
    lists, matrix = len(queries) * 64 * (8 + 4), len(queries) * len(pool) * 4
    assert peak < 8 * lists < matrix / 10


@pytest.mark.scenario("duplicates")
@pytest.mark.parametrize("selection", ["nearest", "farthest", "both_ends", "random", "all"])
@pytest.mark.parametrize("order", ["nearest_first", "farthest_first", "random", "sandwich"])
@pytest.mark.parametrize("granularity", ["instance", "task"])
def test_every_plan_is_a_sequence_of_exactly_the_budgeted_distinct_rows(
    selection, order, granularity
):
    rng = np.random.default_rng(3)
    pool, queries = unit_rows(rng, 90), unit_rows(rng, 7)
    units = groups(rng.integers(0, 9, 90)) if granularity == "task" else None
    rows = None if selection == "all" else 41
    plan = arrange(
        "tma", make_request(pool, queries, units, selection=selection, order=order, rows=rows)
    )
    assert len(plan) == len(set(plan.rows.tolist())) == (rows or 90)
    assert set(plan.rows.tolist()) <= set(range(90))


def test_all_orders_of_both_ends_are_the_same_set_in_other_orders():
    rng = np.random.default_rng(5)
    pool, queries = pool_with_duplicates(5, 120, 70), unit_rows(rng, 9)
    plans = [
        arrange("tma", make_request(pool, queries, selection="both_ends", order=order, rows=50))
        for order in ("nearest_first", "farthest_first", "random", "sandwich")
    ]
    assert len({set_digest(map(str, plan.rows)) for plan in plans}) == 1
    assert len({tuple(plan.rows.tolist()) for plan in plans}) == 4


@pytest.mark.parametrize("rows", [1, 2, 3, 50, 51])
def test_a_sandwich_is_half_of_the_near_part_the_far_part_and_the_rest_of_the_near_part(rows):
    rng = np.random.default_rng(5)
    pool, queries = pool_with_duplicates(5, 120, 70), unit_rows(rng, 9)
    near_first, sandwich = (
        arrange("tma", make_request(pool, queries, selection="both_ends", order=order, rows=rows))
        for order in ("nearest_first", "sandwich")
    )
    near, far = near_first.rows[near_first.turn >= 0], near_first.rows[near_first.turn < 0]
    half = (len(near) + 1) // 2
    assert sandwich.rows.tolist() == [*near[:half], *far, *near[half:]]


def test_a_sandwich_of_one_end_is_of_the_halves_of_its_nearest_first_plan_and_tears_no_task():
    rng = np.random.default_rng(6)
    pool, queries, tasks = unit_rows(rng, 60), unit_rows(rng, 5), rng.integers(0, 9, 60)
    for selection in ("nearest", "farthest", "all"):
        rows = None if selection == "all" else 42
        near_first, sandwich = (
            arrange("tma", make_request(pool, queries, selection=selection, order=order, rows=rows))
            for order in ("nearest_first", "sandwich")
        )
        quarters = np.split(near_first.rows, [15, 30] if rows is None else [11, 21])
        assert sandwich.rows.tolist() == [*quarters[0], *quarters[2], *quarters[1]]
        of_tasks = arrange("tma", make_request(pool, queries, groups(tasks), selection=selection,
                                               order="sandwich", turns=rows and 9))  # fmt: skip
        moved = tasks[of_tasks.rows]
        assert np.count_nonzero(np.diff(moved)) == len(np.unique(moved)) - 1


def test_nearest_first_sees_nearer_rows_early_and_farthest_first_sees_them_late():
    rng = np.random.default_rng(6)
    pool, queries = unit_rows(rng, 200), unit_rows(rng, 10)
    nearest = -(pool @ queries.T).max(axis=1)
    halves = {}
    for order in ("nearest_first", "farthest_first"):
        rows = arrange(
            "tma", make_request(pool, queries, selection="both_ends", order=order, rows=80)
        ).rows
        halves[order] = (nearest[rows[:40]].mean(), nearest[rows[40:]].mean())
    assert halves["nearest_first"][0] < halves["nearest_first"][1]
    assert halves["farthest_first"][0] > halves["farthest_first"][1]


def test_reversing_the_order_reverses_a_one_sided_plan():
    rng = np.random.default_rng(7)
    pool, queries = unit_rows(rng, 60), unit_rows(rng, 5)
    for selection in ("nearest", "farthest"):
        one, other = (
            arrange("tma", make_request(pool, queries, selection=selection, order=order, rows=31))
            for order in ("nearest_first", "farthest_first")
        )
        assert one.rows.tolist() == other.rows.tolist()[::-1]


def test_whole_turns_are_kept_when_the_budget_is_not_cut():
    rng = np.random.default_rng(8)
    pool, queries = unit_rows(rng, 80), unit_rows(rng, 12)
    turns = plain_turns(pool, queries)
    plan = arrange("tma", make_request(pool, queries, selection="nearest", rows=15, cut=False))
    whole = 0
    while sum(map(len, turns[:whole])) < 15:
        whole += 1
    assert plan.rows.tolist() == [row for turn in turns[:whole] for row in turn]


def test_a_budget_of_turns_gives_that_many_turns_and_the_first_budget_met_ends_the_selection():
    rng = np.random.default_rng(9)
    pool, queries = unit_rows(rng, 80), unit_rows(rng, 12)
    three = arrange("tma", make_request(pool, queries, selection="nearest", turns=3))
    assert sorted(set(three.turn.tolist())) == [0, 1, 2]
    both = arrange("tma", make_request(pool, queries, selection="nearest", turns=3, rows=5))
    assert both.rows.tolist() == three.rows.tolist()[:5]


def test_within_turn_distance_sorts_each_turn_by_the_distance_it_was_chosen_at():
    rng = np.random.default_rng(10)
    pool, queries = unit_rows(rng, 50), unit_rows(rng, 20)
    by_row = arrange("tma", make_request(pool, queries, selection="all"))
    plan = arrange("tma", make_request(pool, queries, selection="all", within_turn="distance"))
    for turn in set(plan.turn.tolist()):
        assert np.all(np.diff(plan.distance[plan.turn == turn]) >= 0)
        assert set(plan.rows[plan.turn == turn]) == set(by_row.rows[by_row.turn == turn])


def test_a_reversed_order_of_tasks_keeps_the_rows_of_each_task_in_pool_order():
    rng = np.random.default_rng(18)
    pool, queries = unit_rows(rng, 40), unit_rows(rng, 4)
    tasks = rng.integers(0, 5, 40)
    near, far = (
        arrange("tma", make_request(pool, queries, groups(tasks), order=order,
                                    selection="nearest", turns=9))
        for order in ("nearest_first", "farthest_first")
    )  # fmt: skip
    for task in range(5):
        rows = far.rows[tasks[far.rows] == task]
        assert np.all(np.diff(rows) > 0)
    assert tasks[near.rows].tolist() == tasks[far.rows].tolist()[::-1]


def test_task_granularity_moves_all_rows_of_a_task_together_in_pool_order():
    rng = np.random.default_rng(11)
    pool, queries = unit_rows(rng, 60), unit_rows(rng, 4)
    tasks = rng.integers(0, 6, 60)
    plan = arrange("tma", make_request(pool, queries, groups(tasks), selection="all"))
    order = tasks[plan.rows]
    blocks = [order[0]] + [b for a, b in zip(order, order[1:], strict=False) if a != b]
    assert len(blocks) == len(set(blocks)) == 6
    for task in blocks:
        assert np.all(np.diff(plan.rows[order == task]) > 0)
    centroid = np.stack([pool[tasks == t].mean(axis=0) for t in range(6)])
    centroid /= np.linalg.norm(centroid, axis=1, keepdims=True)
    first_turn = set((centroid @ queries.T).argmax(axis=0))
    assert set(order[plan.turn == 0]) == first_turn
