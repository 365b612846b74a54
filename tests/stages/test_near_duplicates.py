"""Pool rows near a test item are counted under its set and shown with both texts."""

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from orchestrator.config.schema import Neighbours
from orchestrator.data import dataset
from orchestrator.stages import search
from orchestrator.stages.near_duplicates import SHOWN_CHARS, near_duplicates_spec
from orchestrator.storage.artifacts import MANIFEST
from orchestrator.storage.remote import ArtifactStore
from tests.stages.making import made

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# Row -> its text; the cosine with the test items is decided by the angles below.
POOL = ["alone a", "the same b", "just below c", "nearly d" + "!" * 400, "alone too e"]
TESTS = {"query": ["unlike f", "the same b"], "held_out": ["nearly d?", "unlike too g"]}
ANGLES = np.radians([90, 0, 19, 68, 180, 270, 0, 60, 225])  # in one plane
COSINE = float(np.cos(np.radians(8)))  # of row 3 and the first held-out item


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return ArtifactStore(tmp_path_factory.mktemp("store"))


def make_dataset(folder):
    splits = {"pool": POOL} | TESTS
    rows = [(split, text) for split, texts in splits.items() for text in texts]
    table = [
        {
            "row": row,
            "id": f"{split}/{row}",
            "task": "t",
            "split": split,
            "messages": [
                {"role": role, "content": content}
                for role, content in zip(("user", "assistant"), text.rsplit(" ", 1), strict=True)
            ],
        }
        for row, (split, text) in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table, schema=dataset.SCHEMA), folder / "instances.parquet")
    return {"splits": {name: {"instances": len(texts)} for name, texts in splits.items()}}


def write_vectors(folder):
    vectors = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    return {"splits": {"pool": len(POOL)} | {name: len(texts) for name, texts in TESTS.items()}}


@pytest.fixture(scope="module")
def find(store):
    instances = store.build("dataset", 1, make_dataset)
    vectors = store.build("embeddings", 1, write_vectors)

    def run(threshold, **settings):
        spec = near_duplicates_spec(instances, vectors, threshold, Neighbours(**settings))
        return made(spec, store)

    return run


def test_a_search_under_ray_takes_no_gpu_that_it_did_not_reserve(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)  # one that another's rank computes on
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    search._gpu.cache_clear()
    assert search._gpu() is None
    search._gpu.cache_clear()


@pytest.mark.scenario("leakage")
def test_an_equal_and_a_nearly_equal_row_are_counted_under_their_sets_nearest_first(find):
    found = find(0.95)
    assert found.info["threshold"] == 0.95
    assert found.info["counts"] == {"query": 1, "held_out": 1}
    assert pq.read_table(found.path / "pairs.parquet").select(["row", "test_row"]).to_pylist() == [
        {"row": 1, "test_row": 6},
        {"row": 3, "test_row": 7},
    ]


def test_pairs_are_listed_with_their_ids_and_texts_cut_to_what_is_shown(find):
    same, nearly = find(0.95).info["pairs"]
    assert same == {
        "cosine": 1.0,
        "pool_id": "pool/1",
        "test_id": "query/6",
        "pool_text": "the same b",
        "test_text": "the same b",
    }
    assert nearly["cosine"] == round(COSINE, 4)
    assert (nearly["pool_id"], nearly["test_id"]) == ("pool/3", "held_out/7")
    assert nearly["pool_text"] == POOL[3][:SHOWN_CHARS]
    assert nearly["test_text"] == "nearly d?"


@pytest.mark.scenario("leakage")
def test_the_threshold_decides_and_rows_below_it_are_not_counted(find):
    assert find(0.999).info["counts"] == {"query": 1, "held_out": 0}
    # Row 2 is 19 degrees away from a query, cosine 0.9455.
    assert find(0.94).info["counts"] == {"query": 2, "held_out": 1}
    assert find(0.94).reused


def test_a_set_whose_vectors_are_not_given_is_left_out(store):
    def without_held_out(folder):
        write_vectors(folder)
        np.save(folder / "vectors.npy", np.load(folder / "vectors.npy")[:7])
        return {"splits": {"query": 2, "pool": 5}}

    instances = store.build("dataset", 1, make_dataset)
    vectors = store.build("embeddings", 2, without_held_out)
    found = made(near_duplicates_spec(instances, vectors, 0.9, Neighbours()), store)
    assert found.info["counts"] == {"query": 2}


def test_the_shards_do_not_change_what_is_found(find, store):
    whole = find(0.9)
    pairs = pq.read_table(whole.path / "pairs.parquet")
    (whole.path / MANIFEST).unlink()
    sharded = find(0.9, shard_rows=2, workers=2)
    assert not sharded.reused
    assert pq.read_table(sharded.path / "pairs.parquet").equals(pairs)
    assert sharded.info == whole.info
