"""Lists that grow give what the whole ranking gives, whatever was taken meanwhile."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.lists import NeighbourLists, search_free
from orchestrator.core.ranking import certify
from orchestrator.stages.search import search
from tests.core.lists import plain_lists, unit_rows


@pytest.mark.scenario("many-queries")
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(2, 120), distinct=st.integers(1, 20),
    depth=st.integers(1, 40), end=st.sampled_from(["near", "far"]),
)  # fmt: skip
def test_asking_on_gives_every_free_unit_once_and_in_order(seed, rows, distinct, depth, end):
    pool, queries = unit_rows(seed, rows, distinct), unit_rows(seed + 1, 3, 3)
    ranked = NeighbourLists(queries, pool, search(queries, pool, depth, end=end), end)
    taken = np.random.default_rng(seed).random(rows) < 0.3
    units, _ = plain_lists(queries, pool, end)
    for query in range(3):
        expected = [unit for unit in units[query] if not taken[unit]]
        left, seen = taken.copy(), []
        while not left.all():
            lists = ranked.nearest(np.array([query]), left)
            fresh = lists.units[0, : lists.lengths[0]]
            left[fresh] = True
            seen += fresh.tolist()
        assert seen == expected


def test_only_queries_whose_lists_are_used_up_are_searched_again(monkeypatch):
    pool, queries = unit_rows(3, 400, 400), unit_rows(4, 5, 5)
    ranked = NeighbourLists(queries, pool, search(queries, pool, 32), "near")
    searched = []
    again = NeighbourLists._search_again
    monkeypatch.setattr(
        NeighbourLists,
        "_search_again",
        lambda self, q, taken: (searched.append(q), again(self, q, taken)),
    )
    taken = np.zeros(400, bool)
    taken[ranked._units[2]] = True
    ranked.nearest(np.arange(5), taken)
    assert [list(q) for q in searched] == [[2]]


def test_the_blocks_of_a_search_do_not_change_it(monkeypatch):
    pool, queries = unit_rows(5, 500, 100), unit_rows(6, 7, 7)
    taken = np.random.default_rng(7).random(500) < 0.4
    whole = certify(queries, pool, search_free(queries, pool, 600, taken))
    monkeypatch.setattr("orchestrator.core.lists.BLOCK_BYTES", 33 * 4 * 7)
    blocks = certify(queries, pool, search_free(queries, pool, 600, taken))
    free = int((~taken).sum())
    assert np.array_equal(whole.units[:, :free], blocks.units[:, :free])
    assert np.all(blocks.lengths == free)
    assert np.all(whole.lengths == free)


def test_more_near_ties_than_the_longest_list_are_ranked_by_a_scan(monkeypatch):
    monkeypatch.setattr("orchestrator.core.lists.LIST_BYTES", 12 * 3 * 20)
    pool, queries = unit_rows(8, 300, 1), unit_rows(9, 3, 3)
    pool[250:] = unit_rows(10, 50, 50)
    ranked = NeighbourLists(queries, pool, search(queries, pool, 20), "near")
    units, _ = plain_lists(queries, pool)
    taken, order = np.zeros(300, bool), []
    while not taken.all():
        lists = ranked.nearest(np.array([1]), taken)
        fresh = lists.units[0, : lists.lengths[0]]
        taken[fresh] = True
        order += fresh.tolist()
    assert order == units[1].tolist()


@pytest.mark.scenario("many-queries")
def test_a_search_for_one_query_holds_a_block_and_not_the_pool(monkeypatch):
    pool, queries = unit_rows(8, 40_000, 40_000), unit_rows(9, 1, 1)
    monkeypatch.setattr("orchestrator.core.lists.BLOCK_BYTES", pool.nbytes // 50)
    tracemalloc.start()
    search_free(queries, pool, 10, np.zeros(40_000, bool))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < pool.nbytes / 5
