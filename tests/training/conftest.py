"""A random tiny Llama and the built-in suite as a trial's inputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import models
from orchestrator.config.schema import TrialConfig
from orchestrator.data import dataset
from orchestrator.training import tokens
from orchestrator.training.spec import TrialSpec

DATA = {
    "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
    "query": {"reader": "builtin", "split": "query", "max_per_task": 2},
    "held_out": {"reader": "builtin", "split": "held_out", "max_per_task": 2},
}


@dataclass(frozen=True)
class Inputs:
    """Folders that trials share."""

    model: Path
    dataset: Path
    tokens: Path
    store: Path


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    model = models.resolve("random:tiny-llama", store)
    config = TrialConfig.model_validate({"data": DATA})
    folders = [store / name for name in ("dataset", "tokens")]
    for folder in folders:
        folder.mkdir()
    dataset.write(config.data, folders[0])
    tokeniser = tokens.Tokeniser(folders[0], model, "user_assistant", 1024)
    tokens.write(map(tokeniser, dataset.parts(folders[0], 1_000)), folders[1])
    return Inputs(model, *folders, store)


@pytest.fixture
def make_spec(shared, tmp_path):
    """Makes a spec over the given pool rows; settings are sections of the study file."""
    return _spec_maker(shared, tmp_path)


@pytest.fixture(scope="module")
def make_module_spec(shared, tmp_path_factory):
    """Makes specs as `make_spec` does, for trials that the tests of a module share."""
    return _spec_maker(shared, tmp_path_factory.mktemp("specs"))


def _spec_maker(shared, parent):
    def make(rows, name="trial", store=None, **sections):
        sections = {"evaluation": {"every": 2}, "training": {"global_batch": 6}, **sections}
        folder = parent / name
        folder.mkdir(parents=True)
        rows = np.asarray(rows, np.int64)
        pq.write_table(pa.table({"row": rows}), folder / "plan.parquet")
        return TrialSpec(
            trial=name,
            key=f"key-{name}",
            config=TrialConfig.model_validate({"data": DATA, **sections}),
            model=shared.model,
            model_digest="tiny",
            dataset=shared.dataset,
            tokens=shared.tokens,
            tokens_digest="tokens",
            folder=folder,
            store=store or shared.store,
        )

    return make
