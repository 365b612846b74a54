"""A study of which a trial is stopped early."""

import csv
import json

import pytest

from tests.ports import free_ports
from tests.studies import orchestrate, runs_at, write_study
from tests.tracking.server import start_server, stop_server

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def server(tmp_path):
    """The address of an MLflow server."""
    (port,) = free_ports(1)
    process = start_server(tmp_path / "server", port)
    yield f"http://127.0.0.1:{port}"
    stop_server(process)


def test_a_trial_that_the_scheduler_stopped_keeps_its_losses_and_is_not_called_wrong(
    tmp_path, store, server
):
    """Also not by the server that the study is tracked by."""
    sweep = {
        "scheduler": {"type": "asha", "grace_steps": 2, "reduction_factor": 2},
        "parameters": {"training.learning_rate": {"grid": [1e-2, 1e-7]}},
    }
    arrangement = {"method": "random", "rows": 22}
    evaluation = {"every": 2, "measures": False}
    path = write_study(
        tmp_path, arrangement=arrangement, evaluation=evaluation, sweep=sweep, store=store
    )
    address = f"tracking.uri={server}"
    done = orchestrate("run", path, "--output", tmp_path / "out", "--set", address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not sent" not in done.stdout
    study = tmp_path / "out" / "tiny"
    _, row = csv.DictReader((study / "summary.csv").open())
    assert row["status"] == "stopped"
    measured = {
        event["step"]: event["query_loss"]
        for event in map(json.loads, (study / "trials" / row["trial"] / "journal.jsonl").open())
        if event["event"] == "measure"
    }
    assert float(row["query_loss"]) == measured[int(row["steps"])]
    assert f"stopped after step {row['steps']}" in (study / "report" / "index.html").read_text()
    _, runs = runs_at(server)
    assert len(runs) == 1 + 2
    (run,) = (run for run in runs if run.info.run_name == row["trial"])
    assert run.data.metrics["final_query_loss"] == measured[int(row["steps"])]
    verified = orchestrate("verify", study)
    assert verified.returncode == 0
    assert f"stopped {row['trial']}  after step {row['steps']}: a scheduler" in verified.stdout
    assert "wrong" not in verified.stdout
