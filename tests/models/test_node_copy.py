"""A copy of a model on each node's own disk."""

import multiprocessing
import shutil

import pytest

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.models.node_copy import on_this_node


@pytest.fixture
def model(tmp_path):
    return models.resolve("random:tiny-llama", tmp_path / "store")


def test_without_a_cache_the_model_is_read_where_it_is(model):
    assert on_this_node(model, "0" * 64, None) == model


def test_processes_at_once_share_one_whole_copy(model, tmp_path):
    digest, cache = models.fingerprint(model), str(tmp_path / "disk")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        copies = pool.starmap(on_this_node, [(model, digest, cache)] * 8)
    assert len(set(copies)) == 1
    assert models.fingerprint(copies[0]) == digest
    assert [path.name for path in (tmp_path / "disk").iterdir() if path.is_dir()] == [digest[:32]]


def test_the_copy_serves_when_the_storage_is_gone_and_no_other_model(model, tmp_path):
    digest, cache = models.fingerprint(model), str(tmp_path / "disk")
    copy = on_this_node(model, digest, cache)
    shutil.rmtree(model)
    assert on_this_node(model, digest, cache) == copy
    other = models.resolve("random:tiny-llama:1", tmp_path / "store")
    assert on_this_node(other, models.fingerprint(other), cache) != copy


def test_what_a_killed_copy_left_is_no_part_of_the_next_and_takes_no_room(model, tmp_path):
    digest, disk = models.fingerprint(model), tmp_path / "disk"
    left = disk / f".{digest[:32]}.part"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    (left / "model-00002.safetensors").write_bytes(b"of another layout")
    copy = on_this_node(model, digest, str(disk))
    assert models.fingerprint(copy) == digest
    assert [path for path in disk.iterdir() if path.is_dir()] == [copy]


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.parametrize("size", [None, 100], ids=["one bit", "cut"])
def test_a_damaged_copy_is_made_anew(model, tmp_path, size):
    digest, cache = models.fingerprint(model), str(tmp_path / "disk")
    weights = on_this_node(model, digest, cache) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content[:size])
    assert models.fingerprint(on_this_node(model, digest, cache)) == digest


@pytest.mark.scenario("stale-artifact")
def test_a_copy_of_a_model_that_changed_since_is_refused_and_removed(model, tmp_path):
    digest = models.fingerprint(model)
    (model / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="does not hold the model's bytes"):
        on_this_node(model, digest, str(tmp_path / "disk"))
    assert not [path for path in (tmp_path / "disk").iterdir() if path.is_dir()]
