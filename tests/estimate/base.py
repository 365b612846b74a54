"""The trial that the estimates are about, with some of its sections changed."""

from orchestrator.config import TrialConfig

BASE = {
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "embedding": {"model": "random:tiny-bert"},
    "model": {"name": "random:tiny-llama", "precision": "float32"},
    "training": {"global_batch": 4},
}
POOL, QUERIES = 100, 10


def config(**sections: dict) -> TrialConfig:
    merged = {key: {**BASE.get(key, {}), **value} for key, value in sections.items()}
    return TrialConfig.model_validate({**BASE, **merged})
