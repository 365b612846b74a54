"""Ranked lists are exact: proved entries only, whatever the shards, the depth and the ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.ranking import certify, merge, seen_from
from orchestrator.stages.search import kmeans_labels, nearest_of, search
from tests.core.lists import plain_lists, unit_rows


def sharded(queries, pool, depth, shard_rows, **options):
    starts = range(0, len(pool), shard_rows)
    parts = [search(queries, pool[i : i + shard_rows], depth, offset=i, **options) for i in starts]
    return merge(parts, depth)


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("shard_rows", [1, 7, 64, 299, 300])
def test_any_sharding_proves_the_whole_list_where_the_depth_reaches_its_end(shard_rows, end):
    pool, queries = unit_rows(12, 300, 90), unit_rows(13, 20, 15)
    found = sharded(queries, pool, 300, shard_rows, end=end)
    lists = certify(seen_from(end, queries), pool, found)
    units, distances = plain_lists(queries, pool, end=end)
    assert np.array_equal(lists.units, units)
    assert np.array_equal(lists.distances, distances)
    assert np.all(lists.lengths == 300)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 200), distinct=st.integers(1, 30),
    depth=st.integers(1, 50), shard_rows=st.integers(1, 200),
)  # fmt: skip
def test_no_proved_entry_is_contradicted_by_the_whole_list(seed, rows, distinct, depth, shard_rows):
    pool, queries = unit_rows(seed, rows, distinct), unit_rows(seed + 1, 9, 9)
    lists = certify(queries, pool, sharded(queries, pool, depth, shard_rows))
    units, _ = plain_lists(queries, pool)
    for query, length in enumerate(lists.lengths):
        assert lists.units[query, :length].tolist() == units[query, :length].tolist()


@pytest.mark.parametrize("block_rows", [1, 7, 65_536])
def test_the_nearest_target_is_that_of_a_full_argmax_whatever_the_blocks(monkeypatch, block_rows):
    monkeypatch.setattr("orchestrator.stages.search.BLOCK_ROWS", block_rows)
    vectors, targets = unit_rows(8, 90, 60), unit_rows(9, 13, 400)
    nearest, cosine = nearest_of(vectors, targets)
    plain = vectors.astype(np.float64) @ targets.astype(np.float64).T
    assert np.array_equal(nearest, plain.argmax(axis=1))
    np.testing.assert_allclose(cosine, plain.max(axis=1), atol=1e-6)
    assert (nearest.dtype, cosine.dtype) == (np.int64, np.float32)


# Of 1500 rows for two clusters only a sample trains them.
@pytest.mark.parametrize(("rows", "clusters"), [(300, 9), (1500, 2)])
def test_clusters_repeat_with_their_seed_whatever_the_blocks_and_differ_with_another(
    monkeypatch, rows, clusters
):
    vectors = unit_rows(10, rows, rows)
    labels = kmeans_labels(vectors, clusters, seed=1)
    assert set(labels.tolist()) == set(range(clusters))
    assert not np.array_equal(kmeans_labels(vectors, clusters, seed=2), labels)
    monkeypatch.setattr("orchestrator.stages.search.BLOCK_ROWS", 33)
    assert np.array_equal(kmeans_labels(vectors, clusters, seed=1), labels)


@pytest.mark.parametrize("seed", range(5))
def test_two_clusters_are_the_two_groups_that_lie_apart(seed):
    rng = np.random.default_rng(11)
    groups = rng.permutation(np.repeat([0, 1], 40))
    vectors = np.eye(8)[groups] + rng.normal(scale=0.05, size=(80, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    labels = kmeans_labels(vectors, 2, seed)
    assert np.array_equal(labels, groups) or np.array_equal(labels, 1 - groups)


def test_every_row_may_be_a_cluster_of_its_own():
    vectors = np.eye(6, dtype=np.float32)
    assert sorted(kmeans_labels(vectors, 6, seed=0)) == list(range(6))
