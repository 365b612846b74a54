"""A whole study on a random tiny Llama: engines, artifacts, certificates, MLflow, report."""

import csv
import html
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from mlflow.tracking import MlflowClient

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.estimate.stored import StoreLookup
from orchestrator.report.status import read_status
from orchestrator.study.identity import outcome_before
from orchestrator.trials import expand
from orchestrator.verify import verify_forecasts
from tests import canaries
from tests.report.pages import words_of
from tests.studies import (
    BATCH,
    COMMAND,
    files_beside,
    orchestrate,
    runs_of,
    trial_folders,
    write_study,
)
from tests.waiting import lives, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def ray_folder():
    """Ray's own files of the study, below a path that is short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, ray_folder):
    """The study, killed in the middle of its second trial and then, with Ray's own records cut,
    run again to its end; with secrets in its environment and its working folder."""
    folder = tmp_path_factory.mktemp("finished")
    path, output = write_study(folder), folder / "out"
    canaries.plant(folder)
    variables = canaries.ENVIRONMENT | {"HF_ENDPOINT": canaries.ADDRESS}
    place = {"cwd": folder, "env": os.environ | variables | {"RAY_TMPDIR": str(ray_folder)}}
    process = subprocess.Popen(
        [*COMMAND, "run", str(path), "--output", str(output)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **place,
    )  # fmt: skip
    trials = output / "tiny" / "trials"
    wait_until(lambda: list(trials.glob("random-*/journal.jsonl")), process)
    # But for two of Ray's own, which tell its GCS for a minute what they met, though it is gone.
    agents = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    below = psutil.Process(process.pid).children(recursive=True)
    started = [each for each in below if each.name() not in agents]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 30
    while left := [each for each in started if lives(each)]:
        assert time.monotonic() < end, left
        time.sleep(0.1)
    records = [path for path in (output / "tiny" / "ray").rglob("*") if path.is_file()]
    assert any(record.name.startswith("experiment_state") for record in records)
    for record in records:
        os.truncate(record, record.stat().st_size // 2)
    kept = {
        file: file.stat().st_mtime_ns
        for file in [*trials.glob("nearest-first-*/result.json"),
                     *(output / "store").glob("*/*/manifest.json")]
    }  # fmt: skip
    assert [file for file in kept if file.name == "result.json"], "the first trial was finished"
    again = orchestrate("run", path, "--output", output, **place)
    assert again.returncode == 0, again.stdout + again.stderr
    return path, output, kept, again


@pytest.mark.scenario("kill-driver", "damaged-checkpoint")
def test_a_killed_study_finishes_by_the_same_command_without_repeating_what_was_finished(finished):
    _, output, kept, again = finished
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert "reused nearest-first-" in again.stdout
    _, runs = runs_of(output)
    assert len(runs) == 5
    assert {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.scenario("secrets")
def test_no_secret_of_the_environment_or_the_folder_is_in_what_a_study_leaves(finished, ray_folder):
    _, output, _, again = finished
    assert canaries.MARK not in again.stdout + again.stderr
    assert list(ray_folder.glob("ray/session_*/logs/*"))
    assert canaries.leaks(output, ray_folder) == []


@pytest.mark.scenario("other-ranks")
def test_the_realised_order_equals_the_plan_with_one_and_with_two_workers(finished):
    _, output, _, _ = finished
    for name, folder in trial_folders(output / "tiny").items():
        plan = pq.read_table(folder / "plan.parquet").to_pandas()
        realised = pq.read_table(folder / "realised.parquet").to_pandas()
        assert plan["row"].is_unique
        assert len(plan) == 22
        for step in range(1, 7):
            planned = plan["row"][(step - 1) * BATCH : step * BATCH]
            assert sorted(realised["row"][realised["step"] == step]) == sorted(planned)
        assert realised["rank"].nunique() == (2 if name == "farthest-first" else 1)
    verified = orchestrate("verify", output / "tiny")
    assert verified.returncode == 0
    assert verified.stdout.count("proved") == 4


def test_a_plan_or_a_realised_order_that_was_changed_fails_the_certificate(finished, tmp_path):
    _, output, _, _ = finished
    source = trial_folders(output / "tiny")["nearest-first"]
    copy = tmp_path / "copy" / "trials" / source.name
    copy.mkdir(parents=True)
    for file in source.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    table = pq.read_table(copy / "realised.parquet").to_pandas()
    first, last = table.index[0], table.index[-1]
    table.loc[[first, last], ["row", "id"]] = table.loc[[last, first], ["row", "id"]].to_numpy()
    table.to_parquet(copy / "realised.parquet")
    verified = orchestrate("verify", tmp_path / "copy")
    assert verified.returncode == 1
    assert "step 1 was not fed its planned rows" in verified.stdout


def test_the_orders_of_one_selection_have_one_set_digest_and_different_order_digests(finished):
    _, output, _, _ = finished
    rows = list(csv.DictReader((output / "tiny" / "summary.csv").open()))
    instance_arms = [row for row in rows if row["arrangement.granularity"] == "instance"]
    assert len(instance_arms) == 3
    assert len({row["set_sha256"] for row in instance_arms}) == 1
    assert len({row["order_sha256"] for row in rows}) == 4
    assert {row["status"] for row in rows} == {"finished"}
    assert all(float(row["query_loss_auc"]) > 0 for row in rows)


def test_losses_cover_every_test_item_at_every_measured_step_and_share_step_0(finished):
    _, output, _, _ = finished
    tables = {
        name: pq.read_table(folder / "losses.parquet").to_pandas()
        for name, folder in trial_folders(output / "tiny").items()
    }
    for table in tables.values():
        assert sorted(table["step"].unique()) == [0, 2, 4, 6]
        assert set(table["set"]) == {"query", "held_out", "off_target"}
        assert table["loss"].notna().all()
        assert (table.groupby("step")["id"].nunique() == 20 + 8 + 8).all()
    untouched = [table[table["step"] == 0]["loss"].to_numpy() for table in tables.values()]
    assert all(np.array_equal(untouched[0], other) for other in untouched)


def test_mlflow_has_one_parent_and_a_child_a_trial_with_each_point_once(finished):
    _, output, _, _ = finished
    client, runs = runs_of(output)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    children = [run for run in runs if run is not parents[0]]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    for run in children:
        for metric, steps in {
            "train_loss": [1, 2, 3, 4, 5, 6],
            "query_loss": [0, 2, 4, 6],
            "held_out_loss": [0, 2, 4, 6],
            "off_target_loss": [0, 2, 4, 6],
        }.items():
            history = client.get_metric_history(run.info.run_id, metric)
            assert sorted(point.step for point in history) == steps
        for metric in ("update_fidelity", "changed_weights"):
            history = client.get_metric_history(run.info.run_id, metric)
            assert sorted(point.step for point in history) == [2, 4, 6]
        assert run.data.tags["precision"] == "bfloat16"
        assert len(run.data.tags["order_sha256"]) == 64
        assert run.data.params["training.global_batch"] == str(BATCH)
        assert len(run.inputs.dataset_inputs) == 1
        files = files_beside(output, run)
        assert {"plan.parquet", "losses.parquet", "realised.parquet"} <= files.keys()
    files = files_beside(output, parents[0])
    assert {"report/index.html", "summary.csv", "study.yaml"} <= files.keys()
    tags, metrics = parents[0].data.tags, parents[0].data.metrics
    assert tags["mlflow.source.name"].endswith(".yaml")
    said = html.escape(tags["mlflow.note.content"].splitlines()[0])
    assert said in (output / "tiny" / "report" / "index.html").read_text()
    areas = [run.data.metrics["query_loss_auc"] for run in children]
    assert metrics["best_arm/query_loss_auc"] in areas


def test_a_third_run_computes_nothing(finished):
    path, output, _, _ = finished
    folders = trial_folders(output / "tiny").values()
    before = {
        file: file.stat().st_mtime_ns
        for folder in [*folders, output / "store"]
        for file in Path(folder).rglob("*")
        if file.is_file()
    }
    again = orchestrate("run", path, "--output", output)
    assert again.returncode == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(runs_of(output)[1]) == 5


def test_an_estimate_knows_the_trials_that_are_done_and_a_status_their_losses(finished):
    path, output, _, _ = finished
    study = load_study(path, [f"output={output}"])
    layout, trials = Layout.of(study), expand(study)
    store = StoreLookup(layout.store)
    assert all(outcome_before(trial, layout, store).ended for trial in trials)
    told = read_status(output / "tiny")
    assert (told.holder, told.left, told.count("finished")) == (None, 0.0, len(trials))
    assert [trial.name for trial in told.trials] == [trial.name for trial in trials]
    assert all(trial.step == trial.steps and trial.loss for trial in told.trials)


def test_a_model_is_measured_once_with_the_losses_of_untouched_trials(finished):
    _, output, _, _ = finished
    study = output / "tiny"
    first, again = (orchestrate("evaluate", "random:tiny-llama", "--on", study) for _ in range(2))
    assert first.returncode == again.returncode == 0, first.stdout + first.stderr
    assert "   done evaluate random:tiny-llama " in first.stdout
    assert " reused evaluate random:tiny-llama " in again.stdout
    (folder,) = (study / "evaluated").iterdir()
    measured = pq.read_table(folder / "losses.parquet")
    trial = pq.read_table(trial_folders(study)["random"] / "losses.parquet")
    assert measured == trial.slice(0, len(measured))
    assert "evaluated/random-tiny-llama-" in orchestrate("verify", study).stdout
    assert "Other models on the same test sets" in (study / "report" / "index.html").read_text()


def test_the_screen_has_a_line_a_stage_and_a_trial_and_no_chatter(finished):
    _, _, _, again = finished
    assert len(again.stdout.splitlines()) < 45
    for word in ("WARNING", "Traceback", "DeepSpeed", "it/s"):
        assert word not in again.stdout + again.stderr


def test_the_report_and_the_record_tell_what_was_run(finished):
    _, output, _, _ = finished
    page = (output / "tiny" / "report" / "index.html").read_text()
    assert "nearest" in page
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="(https?:)?//', page)
    facts = json.loads((output / "tiny" / "run.json").read_text())
    first = facts["first_rows"][0]["rows"][0]
    words = words_of(page)
    assert first["id"] in words
    assert first["query"]["id"] in words
    (data_set,) = facts["data"]
    assert data_set["splits"]["pool"]["instances"] == 200
    assert len(data_set["trials"]) == 4
    assert "random:tiny-llama" in facts["models"]
    assert facts["precision"] == ["bfloat16"]
    assert "All trials computed in bfloat16, with float32 master weights." in page
    for row in csv.DictReader((output / "tiny" / "summary.csv").open()):
        assert row["precision"] == "bfloat16"
        assert 0.95 < float(row["lowest_update_fidelity"]) < 1.05
        assert 0 < float(row["changed_weights"]) < 1


def test_a_later_study_is_forecast_from_this_one_and_scored_when_it_ends(finished, tmp_path):
    _, output, _, _ = finished
    arms = [
        {"label": selection, "arrangement.selection": selection}
        for selection in ("nearest", "farthest")
    ]
    asked = {"forecast": {"forecasters": ["distance"]}, "sweep": {"paired": [arms]}}
    path = write_study(tmp_path, study="later", **asked)
    done = orchestrate("run", path, "--output", output)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "forecast distance, query set: " in done.stdout
    study = output / "later"
    forecast = json.loads((study / "forecasts" / "distance.json").read_text())
    assert [*forecast["origin"]["studies"]] == ["tiny"]
    assert set(forecast["sets"]) == {"query"}
    made = datetime.fromisoformat(forecast["made"]).timestamp()
    for folder in trial_folders(study).values():
        first = json.loads((folder / "journal.jsonl").read_text().splitlines()[0])
        assert made <= first["time"]
    (line,) = map(json.loads, (output / "ledger.jsonl").read_text().splitlines())
    assert line["forecast"] == forecast["sha256"]
    score = line["sets"]["query"]
    assert len(score["ranked"]) + score["undecided"] == 1
    begun = (study / "begun.txt").read_text().split()
    assert sorted(begun) == sorted(folder.name for folder in trial_folders(study).values())
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    (run,) = client.search_runs(
        [client.get_experiment_by_name("later").experiment_id],
        f"tags.`forecast.distance` = '{forecast['sha256']}'",
    )
    assert run.data.metrics["forecast/distance/query/pairs"] == len(score["ranked"])
    assert "What was forecast" in (study / "report" / "index.html").read_text()
    assert verify_forecasts(study) == [("forecasts/distance.json", forecast["sha256"])]
