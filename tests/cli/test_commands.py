"""What a user sees who typed something wrong: every fault, nothing started, nothing written."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli import main
from orchestrator.cli.commands import app
from tests.waiting import PATIENCE

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
def orchestrate(tmp_path, monkeypatch, capfd):
    """The command line in this process, so that its libraries are imported once."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["orchestrator", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(ended.value.code or 0, *capfd.readouterr())

    return call


@pytest.fixture
def run(orchestrate, tmp_path):
    """A command on a good study with some settings changed."""

    def call(*settings, command="run", options=()):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(GOOD, sort_keys=False))
        changes = [part for setting in settings for part in ("--set", setting)]
        return orchestrate(command, path, "--output", tmp_path / "out", *changes, *options)

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
        (
            "data.query={reader: jsonl, path: empty.jsonl}",
            "data.query (jsonl empty.jsonl) gives no instances",
        ),
        ("data.query={reader: jsonl, path: broken.jsonl}", "broken.jsonl:2"),
        ("training.global_batch=1000", "fewer than one global batch of 1000"),
        ("arrangement.rows=5000", "arrangement.rows is 5000, the pool holds 100"),
        ("model.name=smolm2-135m", "smollm2-135m"),
        ("model.name=random:huge", "tiny-llama"),
        ("model.name=./no/such/folder", "no/such/folder"),
        ("training.workers=500", "needs 500 workers of 1 CPU; this machine has room for"),
        ("training.gpus_per_worker=1", "type --set training.gpus_per_worker=0"),
    ],
)
def test_a_fault_is_named_before_anything_slow_starts(run, tmp_path, setting, said):
    (tmp_path / "empty.jsonl").write_text("")
    good = json.dumps({"id": "a", "task": "t", "prompt": "p", "completion": "c"})
    (tmp_path / "broken.jsonl").write_text(good + "\n{not json\n")
    for command in ("run", "estimate"):
        failed = run(setting, command=command)
        assert failed.returncode == 2, failed.stdout + failed.stderr
        assert said in failed.stderr
        assert "Traceback" not in failed.stderr
    assert not (tmp_path / "out" / "small" / "trials").exists()


def test_an_estimate_stands_before_what_this_machine_lacks(run):
    gpus = ["training.gpus_per_worker=1", "training.workers=2", "model.name=smollm2-135m"]
    told = run(*gpus, command="estimate", options=("--gpu", "H100", "--price", "2.5"))
    assert told.returncode == 2
    lines = dict(line.split(maxsplit=1) for line in told.stdout.splitlines() if line.strip())
    assert lines["hours"].startswith("~")
    assert "25% of 989 TFLOP/s (H100)" in lines["hours"]
    assert lines["money"].endswith("GPU hours at 2.5 each")
    assert "torch sees no GPU on this machine" in told.stderr


@pytest.mark.parametrize("command", [["estimate"], ["run", "--dry-run"]])
def test_an_estimate_lists_every_trial_and_what_is_left_out_without_starting_anything(
    orchestrate, tmp_path, command
):
    sweep = {"parameters": {"seed": {"grid": [0, 1, 2, 2, 3]}}, "constraints": [{"seed": 3}]}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"sweep": sweep}))
    shown = orchestrate(*command, path, "--output", tmp_path / "out")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("seed-") == 3
    assert "3 trials; 1 identical ones merged, 1 dropped by {seed: 3}" in shown.stdout
    assert "steps   6" in shown.stdout
    assert not (tmp_path / "out").exists()


def test_help_has_a_short_name_the_version_is_told_and_a_shell_completes_commands():
    runner = CliRunner()
    assert "Usage:" in runner.invoke(app, ["jobs", "stop", "-h"]).stdout
    told = runner.invoke(app, ["--version"])
    assert (told.exit_code, told.stdout) == (
        0,
        f"orchestrator {version('arrangement-orchestrator')}\n",
    )
    asked = {
        "_ORCHESTRATOR_COMPLETE": "complete_bash",
        "COMP_WORDS": "orchestrator rep",
        "COMP_CWORD": "1",
    }
    completed = runner.invoke(app, env=asked, prog_name="orchestrator")
    assert completed.stdout.split() == ["reproduce", "report"]


@pytest.fixture
def overlays(tmp_path):
    """Two partial studies beside a good one."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(GOOD))
    (tmp_path / "small.yaml").write_text("training: {global_batch: 2}\narrangement: {rows: 6}\n")
    (tmp_path / "tiny.yaml").write_text("arrangement: {rows: 4}\n")
    return ["study.yaml", "--with", "small.yaml", "--with", "tiny.yaml"]


def test_overlays_change_the_study_the_later_one_first_and_a_setting_wins(orchestrate, overlays):
    assert "steps   2" in orchestrate("estimate", *overlays).stdout
    set_rows = orchestrate("estimate", *overlays, "--set", "arrangement.rows=8")
    assert "steps   4" in set_rows.stdout


@pytest.mark.parametrize(
    "command", [["run"], ["estimate"], ["arrange", "--out", "plans"], ["reproduce"]]
)
def test_every_command_on_a_study_takes_overlays_and_names_their_faults(
    orchestrate, overlays, tmp_path, command
):
    (tmp_path / "tiny.yaml").write_text("\ntraining: {global_bach: 1}\n")
    failed = orchestrate(*command, *overlays)
    assert failed.returncode == 2
    assert "tiny.yaml line 2: training.global_bach is not a key" in failed.stderr


def test_a_study_without_figures_is_not_reproduced(run, tmp_path):
    failed = run(command="reproduce")
    assert failed.returncode == 2
    assert "study.yaml has no figures to compare with: list them under claim.figures" in (
        failed.stderr
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_is_reproduced_only_if_each_of_its_figures_is_met(run):
    sweep = "sweep.parameters={training.learning_rate: {grid: [0.01, 1e-6]}}"
    claim = (
        "claim={{question: q, arms: [0-01, '1e-06'], "
        "figures: [{{name: One, bands: {{0-01: [0.1, {}]}}}}]}}"
    )
    met = run(sweep, claim.format(20), command="reproduce")
    assert met.returncode == 0, met.stdout + met.stderr
    assert "\nOne: " in met.stdout
    assert "1 of 1 losses lie inside" in met.stdout
    # The trials are finished: only what is claimed of them differs.
    outside = run(sweep, claim.format(0.2), command="reproduce")
    assert (outside.returncode, "0 of 1 losses lie inside" in outside.stdout) == (1, True)


@pytest.fixture
def arrange(orchestrate, tmp_path):
    """`orchestrator arrange` on twelve rows and three queries."""
    rng = np.random.default_rng(0)
    for name, rows in (("pool", 12), ("queries", 3)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(rows, 4)))
    arrays = ["--embeddings", "pool.npy", "--queries", "queries.npy"]

    def call(*arguments):
        return orchestrate("arrange", *arrays, "--out", "plans/plan.parquet", *arguments)

    return call


MIN = ["--set", "arrangement.arm=min", "--set", "arrangement.rows=5"]


def test_arrays_are_arranged_without_a_study(arrange, tmp_path):
    made = arrange(*MIN, "--format", "ids")
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == "plans/plan.parquet: 5 rows\n"
    ids = (tmp_path / "plans" / "plan.ids.txt").read_text().split()
    assert pq.read_table(tmp_path / "plans" / "plan.parquet")["id"].to_pylist() == ids
    assert len(set(ids)) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "arrangement is missing: give a mapping of method, granularity, arm"),
        (["--set", "arrangement.arm=min"], "set rows, answer_tokens, turns or turn_window"),
        ([*MIN, "--set", "arrangement.arn=min"], "arrangement.arn is not a key: did you mean arm?"),
        ([*MIN, "--set", "seed=-1", "--set", "data=x"], "seed is -1: give a whole number from 0"),
        ([*MIN, "--set", "seed=-1", "--set", "data=x"], "data is not a key: the keys here are"),
        ([*MIN, "--format", "csv"], "--format csv: give one of ids, jsonl, llama-factory, axolotl"),
        ([*MIN, "--format", "trl"], "trl writes messages, and arrays have none: give a study, or"),
        ([*MIN, "--tasks", "none.json"], "none.json: no JSON file"),
        ([*MIN, "--queries", "none.npy"], "none.npy cannot be read (No such file"),
        ([*MIN, "--out", "plans"], "--out plans: give a file that ends in .parquet"),
        ([*MIN, "study.yaml"], "arrange reads a study, as in `orchestrator arrange STUDY.yaml"),
        (["--set", "arrangement={method: measure, measure: bigram_kl}"], "bigram_kl needs texts"),
    ],
)
def test_a_fault_of_arrange_is_a_sentence_and_no_plan_is_written(
    arrange, tmp_path, arguments, said
):
    failed = arrange(*arguments)
    assert failed.returncode == 2
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list(tmp_path.rglob("*plan*.parquet*"))


def test_what_a_worker_met_is_told_in_a_line_and_the_log_holds_the_rest(
    orchestrate, tmp_path, monkeypatch
):
    from ray.exceptions import RayTaskError

    from orchestrator.screen import quiet_streams

    def fails(study):
        with quiet_streams(tmp_path / "run.log"):
            said = "Traceback\n many lines\nKeyError: 'x'\nTo change retry attempts: configure it"
            raise RayTaskError("embed", said, KeyError("x"))

    monkeypatch.setattr("orchestrator.study.run.run_study", fails)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(GOOD))
    failed = orchestrate("run", "study.yaml")
    assert failed.returncode == 1
    assert "error: a worker failed: KeyError: 'x'. The log" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "Traceback" in (tmp_path / "run.log").read_text()


def test_the_command_line_starts_without_loading_an_engine():
    code = (
        "import sys, orchestrator.cli.commands; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'transformers') if m in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert shown.stdout.strip() == "[]"
