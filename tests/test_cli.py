"""What a user sees who typed something wrong: every fault, nothing started, nothing written."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from orchestrator.cli import main

GOOD = {
    "study": "small",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "embedding": {"model": "random:tiny-bert"},
    "arrangement": {"selection": "nearest", "rows": 8},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": 4},
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """The command line in this process, so that its libraries are imported once."""

    def call(*settings, command="run"):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(GOOD, sort_keys=False))
        arguments = ["orchestrator", command, str(path), "--output", str(tmp_path / "out")]
        for setting in settings:
            arguments += ["--set", setting]
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(ended.value.code or 0, *capfd.readouterr())

    return call


def test_all_faults_are_told_at_once_with_what_to_type_and_nothing_is_written(run, tmp_path):
    failed = run("training.globl_batch=4", "training.workers=many", "model.name=smolm2-135m")
    assert failed.returncode == 2
    assert "global_batch" in failed.stderr
    assert "training.workers" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.query={reader: jsonl, path: missing.jsonl}", "missing.jsonl: no such file"),
        ("data.query={reader: jsonl, path: empty.jsonl}", "data.query gives no instances"),
        ("data.query={reader: jsonl, path: broken.jsonl}", "broken.jsonl:2"),
        ("training.global_batch=1000", "fewer than one global batch of 1000"),
        ("arrangement.rows=5000", "arrangement.rows is 5000, the pool holds 100"),
        ("model.name=smolm2-135m", "smollm2-135m"),
        ("model.name=random:huge", "tiny-llama"),
        ("model.name=./no/such/folder", "no/such/folder"),
    ],
)
def test_a_fault_is_named_before_anything_slow_starts(run, tmp_path, setting, said):
    (tmp_path / "empty.jsonl").write_text("")
    good = json.dumps({"id": "a", "task": "t", "prompt": "p", "completion": "c"})
    (tmp_path / "broken.jsonl").write_text(good + "\n{not json\n")
    failed = run(setting)
    assert failed.returncode == 2, failed.stdout + failed.stderr
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "out" / "small" / "trials").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_more_resources_than_the_cluster_has_are_refused_instead_of_waited_for(run, tmp_path):
    failed = run("training.workers=500")
    assert failed.returncode == 2, failed.stdout + failed.stderr
    assert "needs 500 CPU" in failed.stderr
    assert "training.workers" in failed.stderr
    assert not (tmp_path / "out" / "small" / "trials").exists()


def test_a_plan_lists_every_trial_without_starting_anything(run, tmp_path):
    shown = run("sweep.parameters={seed: {grid: [0, 1, 2]}}", command="plan")
    assert shown.returncode == 0, shown.stderr
    assert "3 trials" in shown.stdout
    assert not (tmp_path / "out").exists()


def test_the_command_line_starts_without_loading_an_engine():
    code = (
        "import sys, orchestrator.cli; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"
