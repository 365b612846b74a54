"""What trials share, when the process that fetches it does not live to the end."""

import io
from multiprocessing import active_children

import pytest
from rich.console import Console

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.screen import Screen
from orchestrator.stages.spec import Spec
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


def test_what_an_artifact_remembers_is_told_whenever_a_study_uses_it(tmp_path):
    spec = Spec(
        kind="numbers",
        key={"seed": 1},
        make=lambda folder, line: {"alike": 7},
        name="numbers",
        describe=lambda info: f"{info['alike']} alike",
        remarks=lambda info: [("warning", f"{info['alike']} share a vector")],
    )
    for mark in ("done", "reused"):
        screen = io.StringIO()
        store = ArtifactStore(tmp_path / "store")
        SharedResources(store, Screen(Console(file=screen, width=200))).get(spec)
        assert f"{mark} numbers" in screen.getvalue()
        assert "7 alike" in screen.getvalue()
        assert "warning" in screen.getvalue()
        assert "7 share a vector" in screen.getvalue()
