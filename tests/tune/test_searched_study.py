"""A study whose values Optuna chooses, through Ray Tune: engines, journal, MLflow, report."""

import csv
import json

import pytest
from mlflow.tracking import MlflowClient

from tests.studies import STUDY, orchestrate, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RATE = "training.learning_rate"


def searched(samples):
    return {
        "arrangement": {"method": "random", "rows": 16},
        "evaluation": {"every": 2, "measures": False},
        "sweep": {
            "search": {"type": "optuna"},
            "samples": samples,
            "parameters": {RATE: {"loguniform": [1e-4, 1e-2]}},
        },
    }


def summary(folder):
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def test_optuna_is_told_how_each_trial_ended_and_a_longer_search_goes_on_from_there(tmp_path):
    study = tmp_path / "outputs" / STUDY["study"]
    first = orchestrate("run", write_study(tmp_path, **searched(2)), cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 trials, chosen by optuna" in first.stdout
    rows = summary(study)
    assert [row["status"] for row in rows] == ["finished"] * 2

    second = orchestrate("run", write_study(tmp_path, **searched(3)), cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("finished before") == 2
    assert summary(study)[:2] == rows

    events = [json.loads(line) for line in (study / "search.jsonl").read_text().splitlines()]
    told = [event["value"] for event in events if "value" in event]
    assert told == [pytest.approx(float(row["query_loss"])) for row in summary(study)]
    rates = [float(row[RATE]) for row in summary(study)]
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)

    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs' / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == STUDY["study"]]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert orchestrate("verify", study).returncode == 0
