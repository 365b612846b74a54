import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from sentence_transformers import SentenceTransformer

from orchestrator import models
from orchestrator.config.embedding import Embedding
from orchestrator.data import dataset
from orchestrator.data.digests import text_digests
from orchestrator.errors import ModelError
from orchestrator.stages import vector_cache
from orchestrator.stages.embed import (
    agreement,
    describe_embeddings,
    embeddings_spec,
    resolution,
    resolution_remarks,
)
from orchestrator.stages.encoder import Encoder
from orchestrator.stages.vector_cache import READING
from orchestrator.storage.remote import ArtifactStore
from tests.stages.making import made

POOL = [f"question {number} " + "and more " * (number % 7) + "answer" for number in range(40)]
POOL += POOL[3:6]  # exact duplicates
TESTS = {"query": ["which is it? this", POOL[3]], "held_out": ["never seen", "nor this"]}
TEXTS = POOL + TESTS["query"] + TESTS["held_out"]
DISTINCT = 40 + 3


class Killed(Exception):
    """Stands for whatever ends a run."""


class Record:
    """A line of the screen that keeps what it is told, and dies when told."""

    def __init__(self, dies_at=float("inf")):
        self.done = []
        self.notes = []
        self._dies_at = dies_at

    def update(self, done, note=""):
        self.done.append(done)
        self.notes.append(note)
        if done >= self._dies_at:
            raise Killed

    def tell(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return models.resolve("random:tiny-bert", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def cluster():
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def embed(cluster, bert):
    """Embed a pool and the test sets in a store: the artifact and its vectors."""

    def run(folder, pool=POOL, line=None, **settings):
        store = ArtifactStore(folder)
        instances = make_dataset({"pool": pool, **TESTS}, store)
        # A chunk has 16 texts.
        embedding = Embedding.model_validate({"batch_tokens": 64} | settings)
        spec = embeddings_spec(instances, embedding, bert, "tiny", folder)
        embedded = made(spec, store, line or Record())
        return embedded, np.load(embedded.path / "vectors.npy")

    return run


@pytest.fixture(scope="module")
def whole(embed, tmp_path_factory):
    """The first run over all texts: its store, line, artifact and vectors."""
    store, line = tmp_path_factory.mktemp("whole"), Record()
    return store, line, *embed(store, line=line)


@pytest.fixture
def store(whole, tmp_path):
    """A copy of what the first run left."""
    return shutil.copytree(whole[0], tmp_path / "store")


def make_dataset(splits, store):
    rows = [(split, text) for split, texts in splits.items() for text in texts]
    table = [
        {
            "row": row,
            "id": str(row),
            "task": split,
            "split": split,
            # The answer is the last word.
            "messages": [
                {"role": role, "content": content}
                for role, content in zip(("user", "assistant"), text.rsplit(" ", 1), strict=True)
            ],
        }
        for row, (split, text) in enumerate(rows)
    ]

    def make(folder):
        pq.write_table(
            pa.Table.from_pylist(table, schema=dataset.SCHEMA), folder / "instances.parquet"
        )
        return {"splits": {name: {"instances": len(texts)} for name, texts in splits.items()}}

    return store.build("dataset", splits, make)


def encode(folder, texts):
    model = SentenceTransformer(str(folder), device="cpu")
    return np.stack([model.encode(text, normalize_embeddings=True) for text in texts])


@pytest.mark.ray
@pytest.mark.slow
def test_rows_hold_the_vectors_of_pool_query_and_held_out_in_order(whole, bert):
    _, line, made, vectors = whole
    np.testing.assert_allclose(vectors, encode(bert, TEXTS), atol=1e-5)
    assert vectors.dtype == np.float32
    assert made.info["splits"] == {"pool": 43, "query": 2, "held_out": 2}
    assert made.info["embedded"] == DISTINCT
    assert made.info["cached"] == 0
    assert line.done == sorted(line.done)
    assert line.done[-1] == len(TEXTS)
    assert line.notes[-1].endswith("texts/s")


@pytest.mark.scenario("duplicates")
@pytest.mark.ray
@pytest.mark.slow
def test_duplicates_have_the_same_vector_bit_by_bit(whole):
    *_, vectors = whole
    np.testing.assert_array_equal(vectors[40:43], vectors[3:6])
    np.testing.assert_array_equal(vectors[44], vectors[3])
    assert len(np.unique(vectors, axis=0)) == DISTINCT


@pytest.mark.ray
@pytest.mark.slow
def test_batches_and_workers_make_no_other_artifact(embed, store, whole):
    again, _ = embed(store, workers=2, batch_tokens=32)
    assert again.reused
    assert again.digest == whole[2].digest


@pytest.mark.ray
@pytest.mark.slow
def test_only_new_texts_are_embedded_when_the_pool_grows(embed, store, whole):
    *_, before = whole
    made, after = embed(store, pool=["one more", *POOL, "and another"])
    assert made.info["embedded"] == 2
    assert made.info["cached"] == len(TEXTS)
    np.testing.assert_array_equal(after[1:44], before[:43])
    np.testing.assert_array_equal(after[45:], before[43:])


@pytest.mark.scenario("kill-driver")
@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_was_killed_part_way_goes_on_with_what_it_had(
    embed, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(vector_cache, "PART_SECONDS", 0.0)
    reused_at_once = len(TEXTS) - DISTINCT
    with pytest.raises(Killed):
        embed(tmp_path, line=Record(dies_at=reused_at_once + 16))
    assert not list((tmp_path / "embeddings").iterdir())
    made, vectors = embed(tmp_path)
    assert made.info["embedded"] == DISTINCT - 16
    np.testing.assert_allclose(vectors, whole[-1], atol=1e-6)


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.ray
@pytest.mark.slow
def test_a_damaged_part_is_embedded_again(embed, store, whole):
    # A slow machine writes more parts than one.
    for path in (store / "vectors").glob("*/*/vectors.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    made, vectors = embed(store, pool=[*POOL, "a row that makes it another data set"])
    assert made.info["embedded"] == DISTINCT + 1
    np.testing.assert_allclose(vectors[:43], whole[-1][:43], atol=1e-6)


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_give_the_vectors_of_one(embed, whole, tmp_path):
    made, vectors = embed(tmp_path, workers=2)
    assert made.info["embedded"] == DISTINCT
    np.testing.assert_allclose(vectors, whole[-1], atol=1e-6)


@pytest.mark.scenario("stale-artifact")
@pytest.mark.ray
@pytest.mark.slow
def test_bfloat16_says_how_well_it_agrees_with_float32(embed, store, whole):
    *_, exact = whole
    made, rounded = embed(store, dtype="bfloat16")
    assert made.info["embedded"] == DISTINCT
    assert 0 <= made.info["top1_agreement"] <= 1
    # All pool texts and queries are in the sample.
    cosines = (rounded[:45] * exact[:45]).sum(axis=1)
    assert made.info["lowest_cosine"] == pytest.approx(cosines.min(), abs=1e-6)
    assert "of queries" in describe_embeddings(made.info)


def test_a_pooling_is_refused_where_there_is_none_to_replace(bert, tmp_path):
    Encoder(bert, "tiny", Embedding(pooling="mean"), tmp_path)
    without = shutil.copytree(bert, tmp_path / "without")
    path = without / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([module for module in modules if "Pooling" not in module["type"]]))
    Encoder(without, "tiny", Embedding(pooling="auto"), tmp_path)
    with pytest.raises(ModelError, match=r"set embedding\.pooling to auto"):
        Encoder(without, "tiny", Embedding(pooling="mean"), tmp_path)


def unit_vectors(count, seed):
    vectors = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_agreement_is_the_share_of_queries_with_the_same_nearest_pool_text():
    exact = unit_vectors(30, seed=0)
    assert agreement(exact, exact, pool=20)["top1_agreement"] == 1
    # Three queries of ten move onto pool texts that were not their nearest.
    moved = exact.copy()
    nearest = (exact[20:] @ exact[:20].T).argmax(axis=1)
    moved[[20, 25, 29]] = exact[(nearest[[0, 5, 9]] + 1) % 20]
    found = agreement(exact, moved, pool=20)
    assert found["top1_agreement"] == pytest.approx(0.7)
    assert found["lowest_cosine"] == pytest.approx((exact * moved).sum(axis=1).min())


def test_the_description_tells_what_was_reused_and_how_fast_the_rest_was():
    info = {"texts": 1234, "cached": 1000, "embedded": 230, "rate": 71.2, "dimensions": 384}
    info |= {"cut": 0, "different": 1230, "distinct": 1230, "alike": 0, "shared": 0, "unknown": 0}
    assert (
        describe_embeddings(info)
        == "1,234 texts (1,000 from the cache), 384 dimensions, 71 texts/s"
    )
    none = info | {"cached": 0, "rate": None}
    assert describe_embeddings(none) == "1,234 texts, 384 dimensions"
    alike = none | {"cut": 600, "distinct": 1100, "alike": 140, "shared": 140, "unknown": 4}
    assert describe_embeddings(alike).endswith(
        "600 cut, 1,100 distinct vectors of 1,230 texts, "
        "whether 4 from an older cache were cut is not known"
    )


def test_texts_that_share_a_vector_and_texts_that_are_cut_are_warned_of_above_a_share():
    counts = {"texts": 1000, "cut": 250, "different": 1000, "distinct": 995, "alike": 10}
    counts |= {"shared": 10}
    assert list(resolution_remarks(counts, Embedding())) == []
    ((mark, told),) = resolution_remarks(counts | {"alike": 11}, Embedding())
    assert mark == "warning"
    assert "11 of 1,000 different texts share their vector" in told
    assert "embedding.keep: end" in told
    ((_, told),) = resolution_remarks(counts | {"cut": 251}, Embedding(keep="end"))
    assert "251 of 1,000 texts are longer than what is read of them" in told
    assert "embedding.keep: start" in told


def test_instances_of_which_only_the_embedded_part_is_equal_are_warned_of(tmp_path):
    digests = text_digests(["yes", "no"] * 20)
    readings = np.zeros(40, READING)
    readings["read"] = np.ascontiguousarray(digests).view(np.int64).reshape(-1, 2)
    known = np.ones(40, np.bool_)
    info = {"texts": 40, **resolution(digests, [(slice(0, 40), readings, known)], tmp_path)}
    assert (info["different"], info["distinct"], info["alike"], info["shared"]) == (2, 2, 0, 40)
    ((mark, told),) = resolution_remarks(info, Embedding(text="answer"))
    assert mark == "warning"
    assert "2 distinct vectors for 40 instances" in told
    assert "embedding.text: both" in told
    assert list(resolution_remarks(info, Embedding())) == []


@pytest.mark.scenario("stale-artifact")
@pytest.mark.ray
@pytest.mark.slow
def test_texts_that_begin_alike_are_told_apart_by_another_part_of_them(embed, tmp_path):
    pool = ["word " * 60 + f"{number} end{number}" for number in range(8)]
    settings = {"max_length": 64}
    made, vectors = embed(tmp_path, pool, **settings)
    assert (made.info["cut"], made.info["alike"], made.info["different"]) == (8, 8, 12)
    assert made.info["distinct"] == 5
    np.testing.assert_allclose(vectors[:8], vectors[:1].repeat(8, axis=0), atol=1e-6)
    again, _ = embed(tmp_path, pool[:7], **settings)  # from the cache alone
    assert (again.info["cut"], again.info["embedded"]) == (7, 0)
    for other in ({"keep": "end"}, {"text": "answer"}):
        changed, vectors = embed(tmp_path, pool, **settings, **other)
        assert changed.digest != made.digest
        assert changed.info["alike"] == 0
        assert len(np.unique(vectors[:8].round(4), axis=0)) == 8
