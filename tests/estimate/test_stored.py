"""What a store holds is found by what determines it, and by nothing else."""

from orchestrator.estimate.stored import StoreLookup
from tests.estimate.base import POOL, config


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
