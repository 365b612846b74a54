"""What each rank does for a checkpoint, and what the first one waits for."""

import json
import threading
import time
from unittest import mock

import pytest
import torch

from orchestrator.config.training import Training
from orchestrator.errors import ResourceError
from orchestrator.storage import artifacts
from orchestrator.storage.artifacts import read_manifest, sealed, sound
from orchestrator.storage.files import CHECKPOINTS_FOLDER, LOSSES_SCHEMA
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import save_checkpoint
from orchestrator.training.history import History
from tests.training.engines import BFLOAT16, train
from tests.training.launch import start


def save(rank, folder):
    """Save a checkpoint, and tell which files this rank has hashed."""
    _, _, engine = train(Training(zero_stage=2, workers=2), BFLOAT16, steps=1)
    hashed = []

    def file_digest(path):
        hashed.append(path.name)
        return real(path)

    real = artifacts.file_digest
    with mock.patch.object(artifacts, "file_digest", file_digest):
        history = History(losses=[LOSSES_SCHEMA.empty_table()])
        save_checkpoint(folder, engine, history, {"step": 1}, keep=1)
    (folder / f"hashed-{rank}.json").write_text(json.dumps(hashed))


@pytest.mark.slow
def test_each_rank_hashes_what_it_wrote_and_the_manifest_lists_the_files_of_all(tmp_path):
    start(save, tmp_path, ranks=2)
    first, second = (set(json.loads((tmp_path / f"hashed-{r}.json").read_text())) for r in (0, 1))
    assert {"random-0.pt", "mp_rank_00_model_states.pt"} <= first
    assert {"random-1.pt", "fed-1.npy"} < second
    assert not first & second
    path = tmp_path / CHECKPOINTS_FOLDER / "step-1"
    listed = read_manifest(path)["files"]
    assert {name.rpartition("/")[2] for name in listed} == first | second
    there = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert there == {*listed, "manifest.json"}
    assert sound(path)


@pytest.fixture
def files(tmp_path):
    torch.save({}, tmp_path / "shard.pt")
    return sealed(tmp_path)


def test_the_first_rank_waits_for_files_that_it_does_not_see_yet(tmp_path, files, monkeypatch):
    monkeypatch.setattr(checkpoint, "LOOK_SECONDS", 0.01)
    hidden = (tmp_path / "shard.pt").rename(tmp_path / "hidden")
    timer = threading.Timer(0.3, hidden.rename, [tmp_path / "shard.pt"])
    began = time.monotonic()
    timer.start()
    checkpoint._wait_for(tmp_path, files)
    assert time.monotonic() - began >= 0.3


@pytest.mark.scenario("damaged-checkpoint")
def test_files_that_are_never_seen_whole_end_the_trial(tmp_path, files, monkeypatch):
    monkeypatch.setattr(checkpoint, "SEEN_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "LOOK_SECONDS", 0.01)
    (tmp_path / "shard.pt").write_bytes(b"half")
    with pytest.raises(ResourceError, match=r"wrote shard.pt into .* give --output a folder"):
        checkpoint._wait_for(tmp_path, files)
