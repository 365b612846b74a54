"""The pool of a data set as arrays: its units, their mean vectors, its clusters."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.arrangement import Clusters
from orchestrator.core.units import groups, unit_vectors
from orchestrator.stages.mapped import load_array
from orchestrator.stages.pool import groups_spec, load_pool, make_pool
from orchestrator.stages.search import kmeans_labels
from orchestrator.storage.remote import ArtifactStore
from tests.core.pools import blocks_of, unit_rows
from tests.stages.making import made

TASKS = np.array([0, 1, 0, 2, 1, 0, 2, 2, 1])
CLUSTERS = np.array([1, 1, 1, 0, 0, 0, 1, 0, 1])
VECTORS = unit_rows(np.random.default_rng(0), 12)
POOL, QUERIES = VECTORS[:9], VECTORS[9:11]


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=60).map(np.array),
    block_rows=st.integers(1, 70),
)
def test_unit_vectors_are_the_scaled_means_of_the_rows_whatever_the_blocks(labels, block_rows):
    vectors, units = unit_rows(np.random.default_rng(len(labels)), len(labels)), groups(labels)
    means = np.array([vectors[rows].astype(np.float64).mean(axis=0) for rows in blocks_of(units)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.core.units.BLOCK_ROWS", block_rows)
        found = unit_vectors(vectors, units)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, means, atol=1e-6)


@pytest.mark.parametrize(
    ("granularity", "clusters", "labels"),
    [("task", None, TASKS), (Clusters(clusters=2), CLUSTERS, CLUSTERS)],
)
def test_units_and_groups_of_a_coarse_pool_are_its_labels(granularity, clusters, labels):
    pool = make_pool(granularity, TASKS, clusters, POOL, QUERIES)
    expected = [np.flatnonzero(labels == label).tolist() for label in dict.fromkeys(labels)]
    assert blocks_of(pool.units) == blocks_of(pool.groups) == expected
    assert np.array_equal(pool.vectors, unit_vectors(POOL, groups(labels)))


def test_instances_keep_their_vectors_and_are_grouped_by_task():
    pool = make_pool("instance", TASKS, None, POOL, QUERIES)
    assert blocks_of(pool.units) == [[row] for row in range(9)]
    assert blocks_of(pool.groups) == [[0, 2, 5], [1, 4, 8], [3, 6, 7]]
    assert pool.vectors is POOL
    assert make_pool("task", TASKS, None, None, None).vectors is None


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(tmp_path)


@pytest.fixture
def stored(store):
    """A data set of nine pool rows, two queries and a held-out row, and its vectors."""

    def write_dataset(folder):
        tasks = [f"task {task}" for task in TASKS] + ["a test"] * 3
        pq.write_table(pa.table({"task": tasks}), folder / "instances.parquet")
        sizes = {"pool": 9, "query": 2, "held_out": 1}
        return {"splits": {name: {"instances": size} for name, size in sizes.items()}}

    def write_vectors(folder):
        np.save(folder / "vectors.npy", VECTORS)

    return (
        store.build("dataset", 1, write_dataset),
        store.build("embeddings", 1, write_vectors),
    )


def test_a_loaded_pool_has_the_tasks_and_vectors_of_its_own_rows_alone(stored):
    pool = load_pool("task", *stored, None)
    expected = make_pool("task", TASKS, None, POOL, QUERIES)
    assert blocks_of(pool.units) == blocks_of(expected.units)
    np.testing.assert_array_equal(pool.vectors, expected.vectors)
    np.testing.assert_array_equal(pool.queries, QUERIES)


def test_clusters_are_made_of_the_pool_alone_and_once(stored, store):
    dataset, embeddings = stored
    section = Clusters(clusters=3, seed=4)
    first = made(groups_spec(dataset, embeddings, section), store)
    labels = load_array(first.path / "labels.npy")
    assert np.array_equal(labels, kmeans_labels(POOL, 3, seed=4))
    assert first.info == {"clusters": len(np.unique(labels))}
    assert made(groups_spec(dataset, embeddings, section), store).reused
    other = groups_spec(dataset, embeddings, Clusters(clusters=3, seed=5))
    assert other.digest != first.digest
    pool = load_pool(section, dataset, embeddings, first)
    assert blocks_of(pool.units) == blocks_of(groups(labels))
