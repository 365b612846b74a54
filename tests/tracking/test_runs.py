"""What the runs of a study say: the contract's names, and nothing that is private or endless."""

import io
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from orchestrator.config.layout import Layout
from orchestrator.screen import Screen
from orchestrator.storage.files import LOSSES_SCHEMA
from orchestrator.study.run import Run
from orchestrator.tracking import SystemSampler, certificate
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.parameters import parameters
from orchestrator.tracking.points import points
from orchestrator.tracking.record import stopped
from orchestrator.tracking.task_losses import draw_task_losses
from orchestrator.trials import expansion
from tests.tracking.fabricated import BATCH, STEPS, STUDY, Fabricated
from tests.tracking.held import held


def test_a_stopped_study_shows_which_trials_were_done_and_opens_the_others_again(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    done, broken, *waiting = fabricated.specs
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
    fabricated = Fabricated(tmp_path / "out")
    fabricated.train_all()
    record = fabricated.ended(fabricated.record({"git_commit": "abc"}))
    Mirror(fabricated.folder).send(record)
    runs = held(record.address(fabricated.folder))
    parent = runs.pop("study")
    assert parent["tags"]["git_commit"] == "abc"
    assert parent["tags"]["mlflow.note.content"] == "nearest_first is the best."
    assert ("report/figures/loss.png", None) in parent["files"]
    assert len(runs) == len(fabricated.specs)
    for trial in fabricated.trials:
        run = runs[trial.key]
        assert run["tags"]["arm"] == trial.arm
        assert len(run["tags"]["order_sha256"]) == len(run["tags"]["set_sha256"]) == 64
        assert run["inputs"] == ["0123456789abcdef"]
        assert run["params"]["seed"] == str(trial.config.seed)
        assert ("task_losses.png", None) in run["files"]
        assert {key for key, *_ in run["points"]} == {
            "train_loss", "learning_rate", "grad_norm", "step_seconds", "step_tokens_per_second",
            "useful_share", "query_loss", "query_rougeL", "query_exact_match",
            "final_query_loss",
        }  # fmt: skip
    values = {(key, step): value for key, step, _, value in run["points"]}
    assert values["step_tokens_per_second", 1] == 60
    assert values["useful_share", 1] == 0.75
    same_seed = {trial.config.seed: runs[trial.key]["tags"] for trial in fabricated.trials}
    assert same_seed[0]["order_sha256"] != same_seed[1]["order_sha256"]
    assert same_seed[0]["set_sha256"] == same_seed[1]["set_sha256"]


@pytest.mark.scenario("secrets")
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


def test_task_losses_name_every_task_and_leave_room_for_hundreds():
    tasks = [f"task-{number}" for number in range(300)]
    for count in (1, 3, 300):
        table = pa.table(
            {"step": [0] * count, "set": ["held_out"] * count, "id": tasks[:count],
             "task": tasks[:count], "loss": np.linspace(3, 1, count), "tokens": [1] * count},
            schema=LOSSES_SCHEMA,
        )  # fmt: skip
        figure = draw_task_losses(table)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        if count <= 60:
            assert labels == tasks[:count][::-1], "lowest loss first"
        figure.canvas.draw()
        assert figure.get_size_inches()[1] < 20


def test_a_study_reads_each_plan_once_however_often_a_search_names_its_trials(tmp_path):
    fabricated = Fabricated(tmp_path / "out")
    layout, screen = Layout.of(fabricated.study), Screen(Console(file=io.StringIO()))
    run = Run(fabricated.study, expansion(fabricated.study), layout, screen)
    expected = [certificate(spec) for spec in fabricated.specs]
    run.trials = fabricated.trials[:1]
    run._record(fabricated.specs[:1], {})
    (fabricated.specs[0].folder / "plan.parquet").unlink()  # a second look at it would fail
    run.trials = fabricated.trials
    first, twin = fabricated.specs[:2]
    record = run._record(fabricated.specs, {twin.trial: first})
    assert [child.tags | each for child, each in zip(record.runs[1:], expected, strict=True)] == [
        child.tags for child in record.runs[1:]
    ]
    known = {child.name: child.tags.get("twin_of") for child in record.runs[1:]}
    assert known == dict.fromkeys(known) | {twin.trial: first.trial}, "of a twin from the start"
