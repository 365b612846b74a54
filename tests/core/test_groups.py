"""random, round_robin and cluster: seeded deals of whole units and groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import Request, arrange
from orchestrator.core.units import BLOCK_ROWS, groups, instances
from tests.core.pools import blocks_of

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=60).map(np.array)


def request_for(labels, granularity="instance", **settings):
    tasks = groups(labels)
    units = tasks if granularity == "task" else instances(len(labels))
    return Request(units, tasks, **settings)


def test_random_is_the_seeded_permutation_of_the_pool_cut_to_the_budget():
    plan = arrange("random", request_for(np.zeros(100, np.int64), rows=30, seed=1))
    assert plan.rows.tolist() == np.random.default_rng(1).permutation(100)[:30].tolist()


def test_groups_of_more_rows_than_are_looked_at_at_once_are_those_of_all_rows():
    labels = np.random.default_rng(0).integers(-3, 400, 2 * BLOCK_ROWS + 5).astype(np.int32)
    expected = {}
    for row, label in enumerate(labels.tolist()):
        expected.setdefault(label, []).append(row)
    assert blocks_of(groups(labels)) == list(expected.values())


@settings(deadline=None)
@given(labels=LABELS, seed=st.integers(0, 99), rows=st.integers(1, 80))
def test_random_moves_tasks_whole_and_cuts_the_last_one_only(labels, seed, rows):
    plan = arrange("random", request_for(labels, "task", rows=rows, seed=seed))
    blocks = blocks_of(groups(labels))
    order = list(dict.fromkeys(plan.unit.tolist()))
    expected = [row for unit in order for row in blocks[unit]]
    assert plan.rows.tolist() == expected[:rows]
    assert len(plan) == min(rows, len(labels))


@settings(deadline=None)
@given(labels=LABELS, seed=st.integers(0, 99), rows=st.none() | st.integers(1, 80))
def test_round_robin_deals_one_row_of_each_group_in_turn_and_passes_over_used_up_ones(
    labels, seed, rows
):
    request = request_for(labels, rows=rows, seed=seed)
    left = blocks_of(request.groups)
    whole = arrange("round_robin", request_for(labels, seed=seed))
    order = whole.unit[: len(left)].tolist()
    assert sorted(order) == list(range(len(left)))
    expected, turn = [], []
    while any(left):
        dealt = [left[group].pop(0) for group in order if left[group]]
        turn += [turn[-1] + 1 if turn else 0] * len(dealt)
        expected += dealt
    plan = arrange("round_robin", request)
    assert plan.rows.tolist() == expected[:rows]
    assert plan.turn.tolist() == turn[:rows]


@settings(deadline=None)
@given(labels=LABELS, seed=st.integers(0, 99), rows=st.none() | st.integers(1, 80))
def test_cluster_lays_group_after_group_each_in_pool_order(labels, seed, rows):
    plan = arrange("cluster", request_for(labels, rows=rows, seed=seed))
    order = list(dict.fromkeys(labels[plan.rows].tolist()))
    expected = [row for label in order for row in np.flatnonzero(labels == label).tolist()]
    assert plan.rows.tolist() == expected[:rows]
    assert len(plan) == min(rows or 80, len(labels))


@pytest.mark.parametrize("granularity", ["instance", "task"])
@pytest.mark.parametrize("method", ["random", "round_robin", "cluster"])
def test_the_seed_alone_decides_the_order(method, granularity):
    labels = np.random.default_rng(0).integers(0, 20, 90)
    plans = [
        arrange(method, request_for(labels, granularity, seed=seed)).rows.tolist()
        for seed in (1, 1, 2)
    ]
    assert plans[0] == plans[1] != plans[2]


def test_deals_come_from_the_clusters_where_they_are_the_groups():
    tasks, clusters = np.repeat([0, 1], 3), np.tile([0, 1, 2], 2)
    request = Request(groups(clusters), groups(clusters))
    assert len(set(clusters[arrange("round_robin", request).rows[:3]])) == 3
    assert np.diff(clusters[arrange("cluster", request).rows]).tolist().count(0) == 3
    assert len(set(tasks[arrange("cluster", request).rows[:2]])) == 2
