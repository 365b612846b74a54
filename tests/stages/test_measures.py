"""The measures of a plan, which reads the files of a study some rows at a time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.core.bigrams import count_bigrams
from orchestrator.core.measures import MEASURES, measure_curves
from orchestrator.data import dataset
from orchestrator.stages.measures import write_measures
from orchestrator.storage.artifacts import Artifact
from orchestrator.trials import expand
from tests.trials.studies import demo, grid

POOL, QUERIES, BATCH = 9, 4, 2
TASKS = ["b", "a", "b", "a"]


@pytest.fixture(scope="module")
def texts():
    words = np.random.default_rng(1).choice(["red", "blue", "old", "new"], (POOL + QUERIES, 6))
    return [" ".join(row) for row in words]


@pytest.fixture(scope="module")
def vectors():
    drawn = np.random.default_rng(2).normal(size=(POOL + QUERIES, 5))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, texts, vectors):
    """Data set and embeddings, the pool in two row groups."""
    folder = tmp_path_factory.mktemp("stored")
    rows = [
        {
            "row": row,
            "id": f"row-{row}",
            "task": "pool" if row < POOL else TASKS[row - POOL],
            "split": "pool" if row < POOL else "query",
            "messages": [
                {"role": role, "content": content}
                for role, content in zip(("user", "assistant"), text.rsplit(" ", 1), strict=True)
            ],
        }
        for row, text in enumerate(texts)
    ]
    table = pa.Table.from_pylist(rows, schema=dataset.SCHEMA)
    pq.write_table(table, folder / "instances.parquet", row_group_size=5)
    np.save(folder / "vectors.npy", vectors)
    splits = {"pool": {"instances": POOL}, "query": {"instances": QUERIES}}
    return Artifact(folder, "", {"splits": splits}, reused=True)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [8, 0, 5, 5, 2, 8, 1, 5]], ids=str)
def test_the_measures_of_a_plan_are_those_of_its_rows_in_its_order(
    rows, stored, texts, vectors, tmp_path
):
    settings = {"training.global_batch": BATCH, "evaluation.every": 1}
    (trial,) = expand(demo(grid(**{key.replace(".", "__"): [settings[key]] for key in settings})))
    plan = np.array(rows)
    write_measures(plan, trial.config, stored, stored, tmp_path / "measures.parquet")
    points = np.arange(BATCH, len(plan) + 1, BATCH)
    bigrams = count_bigrams([texts[row] for row in rows], texts[POOL:])
    groups = np.array([0, 1, 0, 1])  # by first appearance
    expected = measure_curves(vectors[plan], vectors[POOL:], groups, points, bigrams)
    table = pq.read_table(tmp_path / "measures.parquet")
    assert table["task"].to_pylist() == [None, "b", "a"] * len(points)
    assert table["rows"].to_pylist() == np.repeat(points, 3).tolist()
    for measure, values in zip(MEASURES, expected.reshape(-1, len(MEASURES)).T, strict=True):
        np.testing.assert_allclose(table[measure].to_numpy(), values, rtol=1e-12)
