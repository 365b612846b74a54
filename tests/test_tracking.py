"""MLflow gets all of a study's record once, whatever becomes of the server or of the sender."""

import io
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow.tracking import MlflowClient
from rich.console import Console

from orchestrator.config import dump_yaml, expand, load_study
from orchestrator.errors import ConfigError
from orchestrator.screen import Screen
from orchestrator.study import run_study
from orchestrator.tracking import SystemSampler, Tracker, describe, finished, sync
from orchestrator.tracking.mirror import RUN_TAG, Mirror
from orchestrator.tracking.parameters import parameters
from orchestrator.tracking.points import points
from orchestrator.tracking.record import read_record, stopped
from orchestrator.tracking.registry import alias
from orchestrator.tracking.task_losses import draw_task_losses
from orchestrator.training.job import Job
from orchestrator.training.record import LOSSES, MODEL, REALISED, TRAIN_LOG, Journal, finish

ROWS, BATCH = 12, 2
STEPS = ROWS // BATCH
STUDY = {
    "study": "tiny",
    "data": {
        "pool": {"reader": "builtin", "split": "pool"},
        "query": {"reader": "builtin", "split": "query"},
    },
    "arrangement": {"selection": "nearest", "rows": ROWS},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": BATCH},
    "sweep": {
        "parameters": {
            "arrangement.order": {"grid": ["nearest_first", "random"]},
            "seed": {"grid": [0, 1]},
        }
    },
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory):
    """MLflow takes seconds to make its tables: once for all tests."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def empty_database(migrated, tmp_path):
    """A database where the study that a test keeps in `out` has its own."""
    for folder in ("out", "copy"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(migrated, tmp_path / folder / "mlflow.db")
    return tmp_path / "out" / "mlflow.db"


class Fabricated:
    """A study folder with the files that trials leave, and no training."""

    def __init__(self, output, **changes):
        output.mkdir(parents=True, exist_ok=True)
        file = output / "study-file.yaml"
        file.write_text(yaml.safe_dump(STUDY | changes))
        self.study = load_study(file, [f"output={json.dumps(str(output))}"])
        self.folder = output / "tiny"
        self.trials = expand(self.study)
        self.jobs = [self._job(trial) for trial in self.trials]
        (self.folder / "report" / "figures").mkdir(parents=True)
        (self.folder / "study.yaml").write_text(dump_yaml(self.study))
        for name in ("summary.csv", "report/index.html", "report/figures/loss.png"):
            (self.folder / name).write_text(name)
        self.journals = {}

    def _job(self, trial):
        folder = self.folder / "trials" / trial.name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(dump_yaml(trial.config))
        rows = np.random.default_rng(trial.config.seed).permutation(ROWS)
        plan = pa.table({"row": rows, "id": [f"item-{row}" for row in rows]})
        pq.write_table(plan, folder / "plan.parquet")
        nowhere = folder / "nowhere"
        return Job(
            trial.name, trial.key, trial.config, nowhere, "", folder.parent / "0123456789abcdef",
            nowhere, "", folder, nowhere,
        )  # fmt: skip

    def record(self, tags=None):
        return describe(
            self.study, self.trials, self.jobs, tags or {}, ["config.yaml", "plan.parquet"],
            self.folder,
        )  # fmt: skip

    def ended(self, record):
        metrics = {trial.name: {"final_query_loss": 1.5} for trial in self.trials}
        return finished(record, ["summary.csv", "study.yaml", "report"], {}, metrics)

    def train(self, job, first, last, kept_to=None):
        """Steps first to last of a trial, as the training loop notes them."""
        if first == 1 or kept_to is not None:
            self.journals[job.trial] = Journal(job.folder, kept_to)
            self.journals[job.trial].write("start", first - 1, steps=STEPS)
        journal = self.journals[job.trial]
        for step in range(first, last + 1):
            journal.write(
                "step", step, loss=3 / step, lr=1e-3, grad_norm=1.0, tokens=30,
                padded_tokens=40, seconds=0.5,
            )  # fmt: skip
            journal.write("measure", step, seconds=0.1, query_loss=2 / step, made_up_loss=1.0)
        if last == STEPS:
            journal.write("generate", last, seconds=0.1, query_rougeL=0.5, query_exact_match=0.25)
            self._finish(job)
            journal.write("finish", last)

    def _finish(self, job):
        losses = pa.table(
            {"step": [0, 0, STEPS, STEPS], "set": ["query"] * 4, "id": ["a", "b"] * 2,
             "task": ["x", "$y_1$"] * 2, "loss": [2.0, 3.0, 1.0, None], "tokens": [5] * 4},
            schema=LOSSES,
        )  # fmt: skip
        tables = {
            "realised.parquet": REALISED.empty_table(),
            "losses.parquet": losses,
            "train_log.parquet": TRAIN_LOG.empty_table(),
        }
        finish(job.folder, tables, {"trial": job.trial, "key": job.key})

    def train_all(self):
        for job in self.jobs:
            self.train(job, 1, STEPS)


@contextmanager
def tracking(fabricated, screen=None):
    console = Console(file=screen or io.StringIO(), width=200)
    tracker = Tracker(fabricated.record(), fabricated.folder, Screen(console))
    try:
        yield tracker
    finally:
        tracker.close(0)


def held(address, study="tiny"):
    """All that MLflow holds of a study, by run: what two records must agree in."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id])
    keys = {run.info.run_id: run.data.tags[RUN_TAG] for run in runs}
    assert len(set(keys.values())) == len(runs), "a run is there twice"
    return {keys[run.info.run_id]: run_held(client, run, keys) for run in runs}


def run_held(client, run, keys):
    tags = {name: text for name, text in run.data.tags.items() if name != "mlflow.user"}
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = keys[tags["mlflow.parentRunId"]]
    history = [
        (point.key, point.step, point.timestamp, point.value)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    return {
        "status": run.info.status,
        "time": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": tags,
        "points": sorted(history),
        "files": files_of(client, run.info.run_id),
        "inputs": [each.dataset.digest for each in run.inputs.dataset_inputs],
    }


def files_of(client, run_id, path=None):
    """Paths with their sizes; a drawn figure has no size that two drawings must share."""
    found = []
    for file in client.list_artifacts(run_id, path):
        if file.is_dir:
            found += files_of(client, run_id, file.path)
        else:
            found.append((file.path, None if file.path.endswith(".png") else file.file_size))
    return sorted(found)


def undisturbed(fabricated, folder):
    """The record of a copy of the study's folder, sent to SQLite in one go."""
    copy = folder / "copy" / "tiny"
    shutil.copytree(fabricated.folder, copy)
    record = replace(read_record(copy), uri=None)
    record.write(copy)
    assert sync(copy) is None
    return held(record.address(copy))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_server(folder, port):
    """`mlflow server` on loopback; returns once it answers."""
    folder.mkdir(exist_ok=True)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
             "--port", str(port), "--workers", "1", "--backend-store-uri",
             f"sqlite:///{folder / 'server.db'}", "--artifacts-destination",
             str(folder / "artifacts")],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return process
        except OSError:
            assert process.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)


def stop_server(process):
    every = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in every:
        each.kill()
    psutil.wait_procs(every, timeout=30)
    process.wait()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_a_server_killed_in_the_middle_ends_with_the_record_of_an_undisturbed_one(tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    orders = {"arrangement.order": {"grid": ["nearest_first", "random"]}}
    fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri}, sweep={"parameters": orders})
    server = start_server(tmp_path / "server", port)
    slowest, screen = 0.0, io.StringIO()
    try:
        with tracking(fabricated, screen) as tracker:
            first, *others = fabricated.jobs
            fabricated.train(first, 1, 3)
            wait_for(lambda: points_held(uri) > 0)
            stop_server(server)
            for job in [first, *others]:
                began = time.monotonic()
                fabricated.train(job, 4 if job is first else 1, STEPS)
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(5)  # passes that fail
            tracker.update(fabricated.ended(tracker.record))
            began = time.monotonic()
            unsent = tracker.close(2.0)
            assert time.monotonic() - began < 4
        assert screen.getvalue().count(f"{uri}: it does not answer") == 1
        assert slowest < 2, "a trial waited for the server"
        assert unsent.points >= len(others) * (7 * STEPS + 2)
        assert unsent.files >= len(others) * 6
        assert f"confirmed on {uri} (it does not answer): run `orchestrator sync" in str(unsent)
        assert str(sync(fabricated.folder)).endswith("The study's folder holds all of it")
        server = start_server(tmp_path / "server", port)
        assert sync(fabricated.folder) is None
        found = held(uri)
        assert found == undisturbed(fabricated, tmp_path)
        assert sync(fabricated.folder) is None
        assert held(uri) == found, "a second time sends nothing twice"
    finally:
        stop_server(server)


def points_held(uri):
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return sum(len(run.data.metrics) for run in runs)


def test_a_server_that_accepts_and_never_answers_delays_nobody(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri})
        began = time.monotonic()
        with tracking(fabricated) as tracker:
            fabricated.train_all()
            tracker.update(fabricated.ended(tracker.record))
            assert time.monotonic() - began < 3
            unsent = tracker.close(0.5)
        assert time.monotonic() - began < 5
    # Counted as the folder is now, not as it was when the request began.
    assert unsent.points == len(fabricated.jobs) * (7 * STEPS + 2)
    assert unsent.files == len(fabricated.jobs) * 6 + 4
    assert unsent.runs == len(fabricated.jobs) + 1


def test_a_sender_that_dies_at_any_request_leaves_nothing_twice_and_nothing_out(
    tmp_path, monkeypatch
):
    """Each request in turn arrives at MLflow, and its sender dies before it hears of it."""
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record())
    record.write(fabricated.folder)
    left = {"requests": 0}  # until the next death
    names = ("create_run", "log_batch", "log_inputs", "log_artifact", "set_tag", "set_terminated")

    class Killed(BaseException):
        pass

    def dying(original):
        def request(*arguments, **options):
            left["requests"] -= 1
            answer = original(*arguments, **options)
            if left["requests"] == 0:
                raise Killed
            return answer

        return request

    for name in names:
        monkeypatch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))
    for left["requests"] in (1, 2, 3, 4, 5, 6, 8, 12, 20, 35):
        with pytest.raises(Killed):
            Mirror(fabricated.folder).send(record)
    monkeypatch.undo()
    Mirror(fabricated.folder).send(record)
    found = held(record.address(fabricated.folder))
    assert found == undisturbed(fabricated, tmp_path)
    assert {run["status"] for run in found.values()} == {"FINISHED"}


def test_a_trial_that_starts_again_gets_no_second_point_for_a_step(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    job, record = fabricated.jobs[0], fabricated.record()
    fabricated.train(job, 1, 4)
    first = Mirror(fabricated.folder)
    first.send(record)
    fabricated.train(job, 3, 5, kept_to=2)  # from a checkpoint, with new time stamps
    first.send(record)
    fabricated.train(job, 1, STEPS)  # from the beginning, with a new driver
    Mirror(fabricated.folder).send(record)
    steps = [step for key, step, _, _ in held(record.address(fabricated.folder))[job.key]["points"]
             if key == "train_loss"]  # fmt: skip
    assert steps == list(range(1, STEPS + 1))


def test_of_two_runs_that_a_lost_answer_made_one_stays(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.record()
    Mirror(fabricated.folder).send(record)
    client = MlflowClient(record.address(fabricated.folder))
    experiment = client.get_experiment_by_name("tiny").experiment_id
    child = fabricated.jobs[0].key
    one = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{child}'")[0]
    client.create_run(experiment, one.info.start_time + 1, one.data.tags)
    Mirror(fabricated.folder).send(record)
    assert len(held(record.address(fabricated.folder))) == len(record.runs)
    assert client.get_run(one.info.run_id).info.lifecycle_stage == "active"


def test_a_run_that_somebody_deletes_meanwhile_is_made_again_in_full(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    job, record, mirror = fabricated.jobs[0], fabricated.record(), Mirror(fabricated.folder)
    fabricated.train(job, 1, 3)
    mirror.send(record)
    client = MlflowClient(record.address(fabricated.folder))
    experiment = client.get_experiment_by_name("tiny").experiment_id
    run = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{job.key}'")[0]
    client.delete_run(run.info.run_id)
    fabricated.train(job, 4, STEPS)
    with pytest.raises(Exception, match="deleted"):
        mirror.send(record)
    mirror.send(record)
    again = held(record.address(fabricated.folder))[job.key]["points"]
    assert [step for key, step, _, _ in again if key == "train_loss"] == list(range(1, STEPS + 1))


def test_two_studies_of_one_name_on_one_server_share_no_run(tmp_path):
    studies = [Fabricated(tmp_path / name) for name in ("mine", "yours")]
    address = f"sqlite:///{tmp_path / 'common.db'}"
    for fabricated in studies:
        fabricated.train_all()
        record = replace(fabricated.record(), uri=address)
        Mirror(fabricated.folder).send(record)
        assert replace(fabricated.record(), uri=address).id != record.id
        record.write(fabricated.folder)
        assert fabricated.record().id == record.id
    client = MlflowClient(address)
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert len(runs) == 2 * (1 + len(fabricated.jobs))


def test_a_stopped_study_shows_which_trials_were_done_and_opens_the_others_again(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    done, broken, *waiting = fabricated.jobs
    fabricated.train(done, 1, STEPS)
    fabricated.train(broken, 1, 2)
    record = fabricated.record()
    Mirror(fabricated.folder).send(stopped(record, fabricated.folder))
    address = record.address(fabricated.folder)
    statuses = {key: run["status"] for key, run in held(address).items()}
    assert statuses == {"study": "KILLED", done.key: "FINISHED", broken.key: "KILLED"}
    Mirror(fabricated.folder).send(record)
    statuses = {key: run["status"] for key, run in held(address).items()}
    assert statuses == {"study": "RUNNING", done.key: "FINISHED", broken.key: "RUNNING"}
    assert waiting[0].key not in statuses, "a trial that never began has no run"


def test_the_runs_hold_what_the_contract_names(tmp_path):
    claim = {"question": "Does order matter?", "arms": ["nearest_first", "random"]}
    fabricated = Fabricated(tmp_path / "out", claim=claim)
    fabricated.train_all()
    record = fabricated.ended(fabricated.record({"git_commit": "abc"}))
    Mirror(fabricated.folder).send(record)
    runs = held(record.address(fabricated.folder))
    parent = runs.pop("study")
    assert parent["tags"]["git_commit"] == "abc"
    assert parent["tags"]["mlflow.note.content"] == "Does order matter?"
    assert ("report/figures/loss.png", None) in parent["files"]
    assert len(runs) == len(fabricated.jobs)
    for trial in fabricated.trials:
        run = runs[trial.key]
        assert run["tags"]["arm"] == trial.arm
        assert len(run["tags"]["order_sha256"]) == len(run["tags"]["set_sha256"]) == 64
        assert run["inputs"] == ["0123456789abcdef"]
        assert run["params"]["seed"] == str(trial.config.seed)
        assert ("task_losses.png", None) in run["files"]
        assert {key for key, *_ in run["points"]} == {
            "train_loss", "learning_rate", "grad_norm", "step_seconds", "step_tokens_per_second",
            "padding_share", "query_loss", "query_rougeL", "query_exact_match",
            "final_query_loss",
        }  # fmt: skip
    values = {(key, step): value for key, step, _, value in run["points"]}
    assert values["step_tokens_per_second", 1] == 60
    assert values["padding_share", 1] == 0.25
    same_seed = {trial.config.seed: runs[trial.key]["tags"] for trial in fabricated.trials}
    assert same_seed[0]["order_sha256"] != same_seed[1]["order_sha256"]
    assert same_seed[0]["set_sha256"] == same_seed[1]["set_sha256"]


def test_parameters_are_short_and_tell_neither_home_nor_token(tmp_path):
    home = str(Path.home())
    data = STUDY["data"] | {
        "pool": {"reader": "jsonl", "path": f"{home}/secret/train.jsonl"},
        "query": {"reader": "jsonl", "path": "https://me:hf_abc@host/q.jsonl?token=hf_abc"},
    }
    template = "{prompt}" + "x" * 900 + "{answer}"
    fabricated = Fabricated(
        tmp_path / "out", data=data, model={"name": "random:tiny-llama", "template": template},
        training={"global_batch": BATCH, "deepspeed": {"comms_logger": {"enabled": True}}},
    )  # fmt: skip
    for config in (fabricated.study, fabricated.trials[0].config):
        found = parameters(config)
        assert found["data.pool.path"] == "train.jsonl"
        assert found["data.query.path"] == "https://host/q.jsonl"
        assert len(found["model.template"]) == 500
        assert not any(key.startswith(("output", "tracking", "sweep", "store")) for key in found)
        assert not any(home in text or "hf_abc" in text for text in found.values())
        assert not any("deepspeed" in key for key in found)


def test_a_journal_full_of_names_makes_few_metric_keys():
    event = {"time": 1.0, "step": 3} | {f"query_task_{number}": 1.0 for number in range(500)}
    for kind in ("measure", "generate", "ready", "damaged"):
        assert points({**event, "event": kind}) == []
    [only] = points({**event, "event": "measure", "query_loss": 2.0})
    assert (only.key, only.value, only.step, only.timestamp) == ("query_loss", 2.0, 3, 1000)


def test_system_metrics_of_several_runs_are_one_series_of_the_parent(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    for _ in range(2):
        with SystemSampler(fabricated.folder, seconds=0.05):
            time.sleep(0.5)
    record = fabricated.record()
    Mirror(fabricated.folder).send(record)
    found = held(record.address(fabricated.folder))["study"]["points"]
    steps = [step for key, step, _, _ in found if key == "system/cpu_utilization_percentage"]
    assert len(steps) > 4
    assert steps == list(range(len(steps)))
    assert len({key for key, *_ in found}) < 90


def test_models_are_registered_once_under_the_alias_of_their_arm(tmp_path):
    fabricated = Fabricated(tmp_path / "out", tracking={"register_model": "arranged"})
    fabricated.train_all()
    for job in fabricated.jobs:
        (job.folder / MODEL).mkdir()
        (job.folder / MODEL / "model.safetensors").write_text(job.trial)
    record = fabricated.record()
    for _ in range(2):
        Mirror(fabricated.folder).send(record)
    client = MlflowClient(record.address(fabricated.folder))
    versions = client.search_model_versions("name = 'arranged'")
    assert {version.tags["trial"] for version in versions} == {job.trial for job in fabricated.jobs}
    assert len(versions) == len(fabricated.jobs)
    for trial in fabricated.trials:
        version = client.get_model_version_by_alias("arranged", alias(trial.arm))
        run = held(record.address(fabricated.folder))
        chosen = next(each for each in fabricated.trials if each.name == version.tags["trial"])
        assert chosen.arm == trial.arm
        assert f"{MODEL}/model.safetensors" in dict(run[trial.key]["files"])


def test_the_registry_takes_every_arm_as_an_alias(empty_database):
    client = MlflowClient(f"sqlite:///{empty_database}")
    client.create_registered_model("one")
    version = client.create_model_version("one", empty_database.parent.as_uri()).version
    for arm in ("latest", "v1", "5", "a b/c", "instance", "x" * 400):
        client.set_registered_model_alias("one", alias(arm), version)
        assert client.get_model_version_by_alias("one", alias(arm)).version == version


def test_task_losses_name_every_task_and_leave_room_for_hundreds():
    tasks = [f"task-{number}" for number in range(300)]
    for count in (1, 3, 300):
        table = pa.table(
            {"step": [0] * count, "set": ["held_out"] * count, "id": tasks[:count],
             "task": tasks[:count], "loss": np.linspace(3, 1, count), "tokens": [1] * count},
            schema=LOSSES,
        )  # fmt: skip
        figure = draw_task_losses(table)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        if count <= 60:
            assert labels == tasks[:count][::-1], "lowest loss first"
        figure.canvas.draw()
        assert figure.get_size_inches()[1] < 20


@pytest.mark.parametrize(
    ("tracking", "sentence"),
    [
        ({"uri": "htp://127.0.0.1"}, "type the address of an MLflow server"),
        ({"uri": "http://me:hunter2@127.0.0.1:5000"}, "MLFLOW_TRACKING_USERNAME"),
        ({"uri": "http://hunter2@127.0.0.1:5000"}, "MLFLOW_TRACKING_USERNAME"),
        ({"uri": "postgresql://me:hunter2@host/mlflow"}, "PGPASSWORD"),
        ({"register_model": "a/b"}, "tracking.register_model"),
    ],
)
def test_an_address_that_cannot_work_or_holds_a_password_is_refused(tracking, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence) as refused:
        Fabricated(tmp_path / "out", tracking=tracking)
    assert "hunter2" not in str(refused.value)


def test_models_that_nobody_keeps_are_not_registered(tmp_path):
    register = {"register_model": "arranged"}
    axis = {"parameters": {"training.save_model": {"grid": [True, False]}}}
    study = Fabricated(tmp_path / "out", tracking=register, sweep=axis).study
    with pytest.raises(ConfigError, match=r"save_model-false-\w+ keeps no model: set training\."):
        run_study(study)
    assert not (tmp_path / "out" / "store").exists()
