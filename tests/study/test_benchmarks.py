"""A study whose trained models, and the untouched one, are benchmarked once its trials are over."""

import io
import math
import re
import subprocess
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.screen import Screen
from orchestrator.storage.files import BENCHMARKS_SCHEMA
from orchestrator.study.benchmarks import _note, run_benchmarks
from orchestrator.study.pipeline import Pipeline
from orchestrator.training.journal import Journal, read_journal
from orchestrator.trials import expand
from orchestrator.verify import verify_measured, verify_trial
from tests.studies import COMMAND, STUDY, files_beside, orchestrate, runs_of, write_study
from tests.training.evaluation.harness import ITEMS, write_tasks
from tests.waiting import PATIENCE, descendants_named, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The file of a study of one trial of two steps and its twin, whose ninth row is not fed, which
    was stopped while its models were measured; and what that left."""
    folder = tmp_path_factory.mktemp("benchmarked")
    tasks = write_tasks(folder / "tasks", "colours")
    path = write_study(
        folder,
        arrangement={"method": "random"},
        training=STUDY["training"] | {"max_steps": 2, "save_model": {"at": [1, 500]}},
        evaluation={
            "every": 2, "measures": False,
            "benchmarks": {"tasks": ["colours"], "at": [0, 1, 500], "path": str(tasks)},
        },
        sweep={"parameters": {"arrangement.rows": [8, 9]}}, output=str(folder / "out"),
    )  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, "run", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    left = folder / "out" / "tiny"
    wait_until(lambda: descendants_named("ray::measure", process.pid), process)
    process.terminate()
    wait_until((left / "summary.csv").exists, process)
    process.terminate()
    screen, _ = process.communicate(timeout=PATIENCE)
    return path, SimpleNamespace(
        screen=screen,
        code=process.returncode,
        summary=(left / "summary.csv").read_text(),
        names={path.name for path in left.rglob("*")},
        runs={run.info.status for run in runs_of(left.parent)[1]},
    )


@pytest.fixture(scope="module")
def study(stopped):
    """The study once the same command has finished it: its folder, its file, what that printed."""
    path, _ = stopped
    ran = orchestrate("run", path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return path.parent / "out" / "tiny", path, ran.stdout


@pytest.mark.scenario("stop-signal")
def test_a_study_that_is_stopped_while_it_measures_reports_its_trials_and_what_is_missing(stopped):
    _, left = stopped
    assert left.code == 1, left.screen
    reason = "without benchmarks: the study was interrupted: run the same command again to finish"
    assert re.search(rf"rows-8-\w+, rows-9-\w+ {reason}", left.screen), left.screen
    assert "  later benchmarks                     3 models, colours, interrupted" in left.screen
    assert "Traceback" not in left.screen
    assert left.summary.count(",finished") == 2
    assert "index.html" in left.names
    assert "benchmarks.parquet" not in left.names
    assert left.runs == {"FINISHED"}


def test_each_model_is_measured_once_and_stands_beside_its_losses(study):
    folder, _, told = study
    assert "   done benchmarks                     3 models, colours" in told
    trial, twin = sorted((folder / "trials").iterdir())
    assert pq.read_table(twin / "benchmarks.parquet").equals(
        pq.read_table(trial / "benchmarks.parquet")
    )
    table = pq.read_table(trial / "benchmarks.parquet").to_pandas()
    assert table["step"].tolist() == [0, 1, 2]
    assert table["n"].tolist() == [len(ITEMS)] * 3
    assert "Benchmarks beside the losses" in (folder / "report" / "index.html").read_text()


def test_a_trial_that_cannot_differ_is_not_trained_and_stands_beside_the_other(study):
    folder, _, told = study
    trial, twin = sorted((folder / "trials").iterdir())
    assert f" reused {twin.name:<30} as {trial.name}" in told
    assert "1 of 2 trials cannot differ from another one" in told
    assert (twin / "models").resolve() == trial / "models"
    assert verify_trial(twin).twin_of == trial.name
    _, runs = runs_of(folder.parent)
    (run,) = (run for run in runs if run.data.tags.get("twin_of") == trial.name)
    assert run.info.status == "FINISHED"
    assert f"{twin.name} as {trial.name}" in (folder / "report" / "index.html").read_text()


def test_what_is_measured_needs_no_ray_again_and_is_told_to_nobody_twice(study):
    folder, path, _ = study
    names = ("benchmarks.parquet", "benchmarks.json", "journal.jsonl")
    files = [trial / name for trial in (folder / "trials").iterdir() for name in names]
    before, stream, loaded = [file.read_bytes() for file in files], io.StringIO(), load_study(path)
    with Screen(Console(file=stream, width=200)) as screen:
        specs = Pipeline(Layout.of(loaded), screen).prepare(expand(loaded))
        assert [file.read_bytes() for file in files] == before
        assert run_benchmarks(specs, screen) == {}
    assert not ray.is_initialized()
    assert " reused benchmarks                     3 models, colours" in stream.getvalue()
    assert [file.read_bytes() for file in files] == before


def test_a_score_that_is_no_number_ends_no_study(tmp_path):
    row = {"step": 2, "benchmark": "b", "task": "b", "n": 1, "higher_is_better": None}
    scores = {"acc": 0.5, "perplexity": math.inf, "f1": math.nan}
    lines = [row | {"metric": name, "value": value} for name, value in scores.items()]
    Journal(tmp_path, kept_to=None).write("start", 0)
    _note(tmp_path, pa.Table.from_pylist(lines, schema=BENCHMARKS_SCHEMA))
    event = read_journal(tmp_path)[-1]
    assert {name: event[name] for name in event if "/" in name} == {"b/acc": 0.5}


def test_mlflow_has_the_scores_at_their_steps_and_the_table(study):
    folder, *_ = study
    client, runs = runs_of(folder.parent)
    trial, _ = sorted((folder / "trials").iterdir())
    (run,) = (run for run in runs if run.info.run_name == trial.name)
    points = client.get_metric_history(run.info.run_id, "benchmark/colours/acc")
    values = pq.read_table(trial / "benchmarks.parquet")["value"].to_pylist()
    assert [(point.step, point.value) for point in points] == list(enumerate(values))
    assert "benchmarks.parquet" in files_beside(folder.parent, run)


def test_the_proof_covers_the_table(study):
    folder, *_ = study
    trial, twin = sorted((folder / "trials").iterdir())
    assert verify_measured(folder) == [(f"trials/{each.name}", 1) for each in (trial, twin)]
    table = trial / "benchmarks.parquet"
    kept = table.read_bytes()
    table.write_bytes(kept[:-1])
    (_, fault), _ = verify_measured(folder)
    assert isinstance(fault, DataError)
    table.write_bytes(kept)
