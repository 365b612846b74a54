"""Memory that runs out in a process of Ray's: the work goes on with less, or a setting is named."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from orchestrator import models
from orchestrator.config.embedding import Embedding
from orchestrator.config.schema import Neighbours
from orchestrator.data.digests import text_digests
from orchestrator.errors import ResourceError
from orchestrator.models.embedder import Embedder
from orchestrator.stages import encoder
from orchestrator.stages.encoder import ChunkEmbedder, Encoder
from orchestrator.stages.memory import with_fewer_tokens
from orchestrator.stages.neighbours import save_lists
from orchestrator.stages.search import search
from orchestrator.stages.shards import map_shards
from orchestrator.stages.token_vectors import fill, in_a_task
from orchestrator.stages.vector_cache import VectorCache

TEXTS = [f"question {number} " + "and more " * (number % 7) + "answer" for number in range(90)]
REFUSED, KILLED = "memory ran out (", "a process died, most likely killed because memory ran out"


@pytest.fixture(scope="module")
def cluster():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def bert(store):
    return models.resolve("random:tiny-bert", Path(store))


def end_here(how):
    """What a process meets whose memory ran out."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory"
    )


@pytest.fixture
def embed(cluster, bert, tmp_path, monkeypatch):
    """Embed the texts where forward passes over more tokens than `limit` have not the memory."""

    def run(how, limit):
        starts, told = tmp_path / "starts", []
        starts.touch()

        class Tight(ChunkEmbedder):
            def __init__(self, **arguments):
                super().__init__(**arguments)
                with starts.open("a") as file:
                    file.write(f"{arguments['batch_tokens']}\n")

                def hook(module, inputs):
                    if inputs[0]["input_ids"].numel() > limit:
                        end_here(how)

                self._embedder._model.register_forward_pre_hook(hook)

        monkeypatch.setattr(encoder, "ChunkEmbedder", Tight)
        embedding, digests = Embedding(batch_tokens=256), text_digests(TEXTS)
        try:
            cache, info = Encoder(bert, "tiny", embedding, tmp_path).fill(
                lambda: TEXTS, digests, tmp_path, lambda missing, rate: None, told.append
            )
        finally:
            run.tried = [int(line) for line in starts.read_text().split()]
        return cache.gather(digests, tmp_path / "vectors.npy"), info, told

    return run


@pytest.mark.scenario("out-of-memory")
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(("how", "told"), [("refused", REFUSED), ("killed", KILLED)])
def test_batches_that_memory_has_no_room_for_are_halved_and_vectors_stay_the_same(
    embed, bert, how, told
):
    vectors, info, said = embed(how, limit=140)
    expected = Embedder(bert, Embedding(), 256, 1, "cpu").embed(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert info["embedded"] == len(TEXTS)
    assert embed.tried == [256, 128]
    assert len(said) == 1
    assert said[0].startswith(told)
    assert said[0].endswith("; going on with 128 tokens at once")


@pytest.mark.scenario("out-of-memory")
@pytest.mark.ray
@pytest.mark.slow
def test_a_model_that_is_killed_each_time_is_started_four_times_and_the_setting_is_named(embed):
    with pytest.raises(ResourceError, match=r"killed.*set embedding\.batch_tokens to 16 or fewer"):
        embed("killed", limit=0)
    assert embed.tried == [256, 128, 64, 32]


@pytest.mark.scenario("out-of-memory")
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["refused", "killed"])
def test_vectors_of_tokens_are_made_in_halved_batches_likewise(cluster, tmp_path, how):
    rows, told = np.arange(40), []
    digests = text_digests(map(str, rows))
    source = SimpleNamespace(
        embedding=Embedding(pooling="gradient"),
        batch_tokens=64,
        table=SimpleNamespace(lengths=np.full(len(rows), 5)),
    )

    def open_maker(threads):
        def make(part, pool, batch_tokens):
            if batch_tokens > 32:
                end_here(how)
            return np.stack([part, np.full(len(part), pool)], axis=1).astype(np.float32)

        return make

    cache = VectorCache(tmp_path / "vectors")
    fill(cache, digests, 30, source, open_maker, lambda missing, rate: None, tell=told.append)
    vectors = cache.gather(digests, tmp_path / "vectors.npy")
    np.testing.assert_array_equal(vectors, np.stack([rows, rows < 30], axis=1))
    assert len(told) == 1
    assert told[0].endswith("going on with 32 tokens at once")


@pytest.mark.scenario("out-of-memory")
@pytest.mark.ray
@pytest.mark.parametrize("how", ["refused", "killed"])
def test_adapters_are_trained_in_halved_batches_likewise(cluster, how):
    source, told = SimpleNamespace(embedding=Embedding(), batch_tokens=64), []

    def work(source, batch_tokens, limit):
        if batch_tokens > limit:
            end_here(how)
        return {"tokens": batch_tokens}

    assert in_a_task(source, told.append, work, 40) == {"tokens": 32}
    assert len(told) == 1
    with pytest.raises(ResourceError, match=r"set embedding\.batch_tokens to 4 or fewer"):
        in_a_task(source, told.append, work, 0)


@pytest.mark.scenario("out-of-memory")
@pytest.mark.ray
@pytest.mark.slow
def test_a_search_whose_process_dies_begins_again_and_in_the_end_the_setting_is_named(
    cluster, tmp_path
):
    vectors = np.eye(8, dtype=np.float32)

    def work(start, stop):
        save_lists(search(vectors, vectors[start:stop], 2, offset=start), tmp_path / str(start))
        deaths = tmp_path / f"died-{start}"
        if start == 4 and not deaths.exists():
            deaths.touch()
            end_here("killed")
        if (tmp_path / "always").exists():
            with deaths.open("a") as file:
                file.write(".")
            end_here("killed")

    settings = Neighbours(shard_rows=4)
    assert list(map_shards(8, settings, work)) == [1, 2]
    assert (tmp_path / "died-4").exists()
    (tmp_path / "always").touch()
    with pytest.raises(ResourceError, match=r"killed.*set neighbours\.shard_rows to 2 or fewer"):
        list(map_shards(8, settings, work))
    assert len((tmp_path / "died-0").read_text()) == 4


def dying(times, *, making):
    """Work whose process dies so many times, and makes something each time or never."""
    calls = []

    def work(tokens):
        calls.append(tokens)
        if len(calls) <= times:
            raise WorkerCrashedError
        return calls

    return with_fewer_tokens(
        work, 80, Embedding(), lambda said: None, lambda: len(calls) if making else 0
    )


@pytest.mark.scenario("out-of-memory")
def test_processes_may_die_as_long_as_something_is_made_between_their_deaths():
    assert dying(3, making=False) == [80, 40, 20, 10]
    assert dying(6, making=True) == [80, 40, 20, 10, 10, 10, 10]
    with pytest.raises(ResourceError, match="even with 10 tokens"):
        dying(4, making=False)


def test_what_has_another_reason_is_not_tried_again():
    calls = []

    def work(tokens):
        calls.append(tokens)
        raise RayTaskError("work", "ValueError: no vectors", ValueError("no vectors"))

    with pytest.raises(RayTaskError, match="no vectors"):
        with_fewer_tokens(work, 80, Embedding(), lambda said: None)
    assert calls == [80]
