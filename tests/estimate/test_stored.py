"""What a store holds is found by what determines it, and by nothing else."""

import shutil

from orchestrator.estimate.amounts import Amount
from orchestrator.estimate.disk import influence_disk
from orchestrator.estimate.stored import StoreLookup
from orchestrator.models import fingerprint
from orchestrator.stages.gradients import gradients_spec, warm_up_spec
from orchestrator.stages.influence import influence_settings, influence_spec
from orchestrator.stages.token_vectors import Source
from orchestrator.storage.remote import ArtifactStore
from tests.estimate.base import POOL, QUERIES, config


def test_what_was_built_is_found_and_nothing_that_differs_in_what_determines_it(store):
    found = StoreLookup(store)
    base = config()
    assert found.dataset(base.data).info["splits"]["pool"]["instances"] == POOL
    assert found.tokens(base) is not None
    assert found.embeddings(base) is not None
    assert found.model("random:tiny-llama") == found.model("random:tiny-llama:0")
    assert found.model("random:tiny-llama:1") is None
    assert found.model(str(found.model("random:tiny-llama"))) == found.model("random:tiny-llama")
    other_pool = config(data={"pool": {"reader": "builtin", "split": "pool", "max_per_task": 1}})
    assert found.dataset(other_pool.data) is None
    assert found.dataset(config(data={"leakage": "drop"}).data) is None
    for model in ({"max_length": 9}, {"template": "chat"}, {"name": "random:tiny-llama:1"}):
        assert found.tokens(config(model=model)) is None
    for embedding in ({"max_length": 9}, {"dtype": "bfloat16"}, {"model": "random:tiny-llama"}):
        assert found.embeddings(config(embedding=embedding)) is None


def test_a_source_that_is_not_here_is_not_in_the_store(store):
    missing = config(data={"query": {"reader": "jsonl", "path": "no/such/file.jsonl"}})
    assert StoreLookup(store).dataset(missing.data) is None


def test_gradients_are_found_behind_the_tokens_and_adapters_that_they_are_made_with(
    store, tmp_path
):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    made, found = ArtifactStore(tmp_path), StoreLookup(tmp_path)
    arm = config(embedding={"model": "random:tiny-llama", "pooling": "gradient"})
    for lookup in (found.embeddings, found.influence):
        assert lookup(arm) is None
    dataset, tokens, model = found.dataset(arm.data), found.tokens(arm), "random:tiny-llama"
    settings, read = influence_settings(arm), found.model(model)
    source = Source(dataset, tokens, settings, read, fingerprint(read))
    warm_up = warm_up_spec(source)
    adapters = made.build(warm_up.kind, warm_up.key, lambda _: {})
    for spec in (
        gradients_spec(source, adapters, tmp_path),
        influence_spec(source, adapters, tmp_path, "none"),
    ):
        made.build(spec.kind, spec.key, lambda _: {})
    again = StoreLookup(tmp_path)
    assert again.embeddings(arm) is not None
    assert influence_disk(arm, again) == Amount(0)
    lora = config(model={"adapter": {"type": "lora"}})
    assert again.influence(lora) is None
    assert influence_disk(lora, again) == Amount(2 * 4 * (POOL + QUERIES) * 1025, "~")
