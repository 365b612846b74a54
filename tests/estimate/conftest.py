"""A store with what an earlier run of the base leaves."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.screen import Screen
from orchestrator.stages.dataset import dataset_spec, tokens_spec
from orchestrator.stages.embed import embeddings_spec
from orchestrator.storage.remote import ArtifactStore
from orchestrator.study.shared import Shared
from tests.estimate.base import POOL, QUERIES, config


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    """A store with the data, the two models, the tokens and the vectors of the base."""
    root, base = tmp_path_factory.mktemp("store"), config()
    shared = Shared(ArtifactStore(root), Screen(Console(file=io.StringIO())))
    dataset = shared.get(dataset_spec(base.data))
    model, embedder = shared.model(base.model.name), shared.model(base.embedding.model)
    shared.get(tokens_spec(dataset, base.model, *model))
    vectors = embeddings_spec(dataset, base.embedding, *embedder, root)
    # Its files are of no interest here.
    shared.store.build(vectors.kind, vectors.key, lambda _: {"texts": POOL + QUERIES})
    return root
