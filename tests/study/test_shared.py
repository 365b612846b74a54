"""What trials share, when the process that fetches it does not live to the end."""

import io
import time
from functools import partial
from itertools import count
from multiprocessing import active_children
from threading import Barrier, Event

import pytest
from rich.console import Console

from orchestrator import models
from orchestrator.errors import DataError, ModelError
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


@pytest.mark.parametrize("wrong", ["beside", "here"])
def test_of_two_that_are_made_at_once_one_that_cannot_be_made_stops_the_other(tmp_path, wrong):
    shared = SharedResources(ArtifactStore(tmp_path / "store"), Screen(Console(file=io.StringIO())))
    began = {name: Event() for name in ("beside", "here")}

    def made(name, check):
        def make(folder, line):
            began[name].set()
            if name == wrong:
                assert all(event.wait(30) for event in began.values())
                raise DataError(f"{name} is wrong")
            for done in count():  # for ever, unless it is stopped
                time.sleep(0.01)
                line.update(done)

        return shared.get(Spec(name, {}, make, name, str), check)

    with pytest.raises(DataError, match=f"{wrong} is wrong"):
        shared.both(partial(made, "beside"), partial(made, "here"))


def test_two_that_do_not_need_each_other_are_made_at_the_same_time(tmp_path):
    shared = SharedResources(ArtifactStore(tmp_path / "store"), Screen(Console(file=io.StringIO())))
    meeting = Barrier(2, timeout=30)  # nobody passes it alone

    def made(name, check):
        return shared.get(Spec(name, {}, lambda folder, line: {"at": meeting.wait()}, name, str))

    found = shared.both(partial(made, "beside"), partial(made, "here"))
    assert {artifact.info["at"] for artifact in found} == {0, 1}
