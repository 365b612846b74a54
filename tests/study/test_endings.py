"""Studies of which a trial fails, or is stopped early."""

import csv
import json
import re

import pytest

from tests.studies import orchestrate, runs_of, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory, store):
    """A study of two data sets, whose second trial fails; its output, and how it ended."""
    folder = tmp_path_factory.mktemp("uneven")
    sweep = {
        "paired": [
            [
                {"label": "good", "data.pool.max_per_task": 3},
                {"label": "bad", "training.learning_rate": 1e30, "training.clip": None},
            ]
        ]
    }
    path = write_study(folder, sweep=sweep, store=store)
    return folder / "out", orchestrate("run", path, "--output", folder / "out")


def test_a_trial_that_fails_is_named_and_leaves_the_others_running(uneven):
    output, done = uneven
    assert done.returncode == 1
    assert re.search(r"bad-\w{8} failed: step \d: the training loss is", done.stdout)
    rows = list(csv.DictReader((output / "tiny" / "summary.csv").open()))
    assert [row["status"] for row in rows] == ["finished", "failed"]
    statuses = sorted(run.info.status for run in runs_of(output)[1])
    assert statuses == ["FAILED", "FAILED", "FINISHED"]
    tune = output / "tiny" / "ray" / "tune"
    assert not list(tune.rglob("error.pkl")), "what would fail again is not tried again"


def test_the_record_keeps_the_counts_of_every_data_set_apart(uneven):
    facts = json.loads((uneven[0] / "tiny" / "run.json").read_text())
    pools = [data_set["splits"]["pool"]["instances"] for data_set in facts["data"]]
    assert pools == [150, 200]
    assert [len(data_set["trials"]) for data_set in facts["data"]] == [1, 1]


def test_a_trial_that_the_scheduler_stopped_keeps_its_losses_and_is_not_called_wrong(
    tmp_path, store
):
    sweep = {
        "scheduler": {"type": "asha", "grace_steps": 2, "reduction_factor": 2},
        "parameters": {"training.learning_rate": {"grid": [1e-2, 1e-7]}},
    }
    path = write_study(tmp_path, sweep=sweep, store=store)
    done = orchestrate("run", path, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    study = tmp_path / "out" / "tiny"
    _, row = csv.DictReader((study / "summary.csv").open())
    assert row["status"] == "stopped"
    told = {
        event["step"]: event["query_loss"]
        for event in map(json.loads, (study / "trials" / row["trial"] / "journal.jsonl").open())
        if event["event"] == "measure"
    }
    assert float(row["query_loss"]) == told[int(row["steps"])]
    assert f"stopped after step {row['steps']}" in (study / "report" / "index.html").read_text()
    (run,) = (run for run in runs_of(tmp_path / "out")[1] if run.info.run_name == row["trial"])
    assert run.data.metrics["final_query_loss"] == told[int(row["steps"])]
    verified = orchestrate("verify", study)
    assert verified.returncode == 0
    assert f"stopped {row['trial']}  after step {row['steps']}: a scheduler" in verified.stdout
    assert "wrong" not in verified.stdout
