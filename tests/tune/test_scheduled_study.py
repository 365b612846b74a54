"""A study of which a trial is stopped early."""

import csv
import json

import pytest

from tests.studies import orchestrate, runs_of, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_trial_that_the_scheduler_stopped_keeps_its_losses_and_is_not_called_wrong(
    tmp_path, store
):
    sweep = {
        "scheduler": {"type": "asha", "grace_steps": 2, "reduction_factor": 2},
        "parameters": {"training.learning_rate": {"grid": [1e-2, 1e-7]}},
    }
    arrangement = {"method": "random", "rows": 22}
    path = write_study(tmp_path, arrangement=arrangement, sweep=sweep, store=store)
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
