"""What trials share, when the process that fetches it does not live to the end."""

import io
from multiprocessing import active_children

import pytest
from rich.console import Console

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.screen import Screen
from orchestrator.storage.remote import ArtifactStore
from orchestrator.study.shared import SharedResources


def test_a_killed_process_is_told_with_the_model_that_it_was_fetching(tmp_path):
    folder = str(models.resolve("random:tiny-llama", tmp_path))
    shared = SharedResources(ArtifactStore(tmp_path / "store"), Screen(Console(file=io.StringIO())))
    before = set(active_children())
    with shared.fetching([folder, "random:tiny-bert", "random:tiny-llama"]):
        assert str(shared.model_folder(folder)) == folder
        [process] = set(active_children()) - before
        process.kill()  # as the kernel does where memory runs out
        for name in ("random:tiny-llama", "random:tiny-bert"):
            with pytest.raises(ModelError, match=r"died at random:tiny-bert, .*out of memory"):
                shared.model(name)
        assert str(shared.model_folder(folder)) == folder, "what was fetched stays"
    assert not any((tmp_path / "store").rglob("*.safetensors"))
