"""A store with what an earlier run of the base leaves."""

from pathlib import Path

import pytest

from orchestrator import models
from orchestrator.stages.dataset import build_dataset, build_tokens
from orchestrator.stages.embed import EMBED_VERSION
from orchestrator.stages.encoder import Encoder
from orchestrator.storage.remote import ArtifactStore
from tests.estimate.base import POOL, QUERIES, config


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """A store with the data, the two models, the tokens and the vectors of the base."""
    root, base = tmp_path_factory.mktemp("store"), config()
    artifacts = ArtifactStore(root)
    dataset = build_dataset(base.data, artifacts)
    folder = models.resolve(base.model.name, root)
    build_tokens(dataset, base.model, folder, models.fingerprint(folder), artifacts)
    embedder = models.resolve(base.embedding.model, root)
    key = Encoder(embedder, models.fingerprint(embedder), base.embedding, root).key
    key = {"version": EMBED_VERSION, "dataset": dataset.digest, "vectors": key}
    artifacts.build("embeddings", key, lambda _: {"texts": POOL + QUERIES})
    return root
