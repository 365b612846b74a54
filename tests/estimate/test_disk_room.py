"""What a study will take, against what its disks have free."""

import sys

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.estimate import disk_room
from orchestrator.estimate.disk_room import check_disk
from orchestrator.estimate.stored import StoreLookup
from orchestrator.storage.files import BEGUN_FILE, RESULT_FILE
from orchestrator.trials import expand
from tests.estimate.base import BASE

CHECKPOINT = 3 * 12 * 6_738_415_616  # two of LLaMA-2-7B's weights and moments, and one being made


@pytest.fixture
def study(tmp_path):
    """Two trials of LLaMA-2-7B in float32, which keep their checkpoints while they run."""

    def make(**sections):
        written = BASE | {
            "study": "large",
            "store": str(tmp_path / "store"),
            "output": str(tmp_path / "out"),
            "model": {"name": "random:llama-2-7b", "precision": "float32"},
            "training": {"global_batch": 4, "max_steps": 20, "checkpoint": {"every": 5}},
            "sweep": {"parameters": {"seed": [0, 1]}},
        }
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(written | sections))
        return load_study(tmp_path / "study.yaml")

    return make


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are free on every disk."""
    return lambda count: monkeypatch.setattr(disk_room, "free_bytes", lambda path: count)


def asked(study, tmp_path):
    return check_disk(study, expand(study), StoreLookup(tmp_path / "store", tmp_path / "scratch"))


@pytest.mark.scenario("full-disk")
def test_a_study_that_will_fill_a_disk_is_refused_with_what_it_takes_and_what_is_free(
    study, free, tmp_path
):
    free(CHECKPOINT)
    with pytest.raises(ResourceError) as refused:
        asked(study(), tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{tmp_path / 'out'} has 242.6 GB free, and the study takes ~242.")
    assert "checkpoints ~242.6 GB" in said
    free(2 * CHECKPOINT)
    assert asked(study(), tmp_path) == []


def test_checkpoints_of_trials_that_run_at_once_count_and_those_that_a_scheduler_stops_keep_theirs(
    study, free, tmp_path
):
    free(1.5 * CHECKPOINT)
    sweep = {"parameters": {"seed": [0, 1]}}
    for changed in ({"max_concurrent": 2}, {"scheduler": {"type": "asha", "grace_steps": 5}}):
        with pytest.raises(ResourceError, match=r"checkpoints ~485\.2 GB"):
            asked(study(sweep=sweep | changed), tmp_path)


def test_a_study_that_began_is_told_and_what_is_finished_takes_nothing_more(study, free, tmp_path):
    free(0)
    loaded = study()
    layout = Layout.of(loaded)
    layout.folder.mkdir(parents=True)
    (layout.folder / BEGUN_FILE).write_text("")
    assert [said.partition(" has ")[0] for said in asked(loaded, tmp_path)] == [str(layout.output)]
    for trial in expand(loaded):
        layout.trial(trial.name).mkdir(parents=True)
        (layout.trial(trial.name) / RESULT_FILE).write_text('{"files": {}, "key": ""}')
    assert asked(loaded, tmp_path) == []


@pytest.mark.scenario("full-disk")
@pytest.mark.parametrize("command", ["run", "estimate"])
def test_run_refuses_it_before_ray_starts_and_estimate_says_so(
    study, free, tmp_path, monkeypatch, capfd, command
):
    free(10**9)
    study()
    monkeypatch.setattr(sys, "argv", ["orchestrator", command, str(tmp_path / "study.yaml")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ResourceError.exit_code == 2
    assert "out has 1.0 GB free, and the study takes ~242" in capfd.readouterr().err
    assert not (tmp_path / "out" / "large" / "trials").exists()
    assert not (tmp_path / "out" / "large" / "ray").exists()
