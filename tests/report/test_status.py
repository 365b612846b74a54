"""How far a study is, from what stands in its folder and from who works in it."""

import json

import pytest
import yaml

from orchestrator.errors import DataError
from orchestrator.report.status import read_status
from orchestrator.storage.lock import locked
from orchestrator.training.journal import Journal
from orchestrator.training.outcome import mark_finished

STEPS = 10


@pytest.fixture
def study(tmp_path):
    """A study of four trials, two at once, whose folders are laid out."""
    names = ["ended", "failed", "runs", "waits"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"sweep": {"max_concurrent": 2}}))
    runs = [{"key": "study", "folder": ".", "tags": {}}]
    runs += [{"key": name, "folder": f"trials/{name}", "tags": {}} for name in names]
    facts = {"name": "", "params": {}, "metrics": {}, "files": [], "dataset": None, "status": None,
             "awaited": None}  # fmt: skip
    record = {"experiment": "e", "id": "1", "uri": None, "started": 0, "register_model": None,
              "complete": False, "runs": [facts | run for run in runs]}  # fmt: skip
    (tmp_path / "tracking.json").write_text(json.dumps(record))
    for name in names:
        (tmp_path / "trials" / name).mkdir(parents=True)
    mark_finished(tmp_path / "trials" / "ended", {}, {"key": "k", "seconds": 60.0}, there=())
    (tmp_path / "trials" / "failed" / "error.txt").write_text("the loss is nan")
    return tmp_path


def running(study, steps, ago=0.0):
    """The journal of the trial that runs, a second a step; returns the time of its last event.

    It began so many seconds ago.
    """
    folder = study / "trials" / "runs"
    journal = Journal(folder, None)
    journal.write("start", 0, steps=STEPS)
    journal.write("ready", 0)
    for step in range(1, steps + 1):
        journal.write("step", step, query_loss=3.0 - step / 10)
    path = folder / "journal.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    begin = events[1]["time"] - ago
    for event in events:
        event["time"] = begin + event["step"]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return begin + steps


def test_a_study_that_runs_tells_who_works_in_it_what_ended_and_the_time_left(study):
    with locked(study):
        now = running(study, steps=4)
        status = read_status(study, now)
    assert status.holder.words.startswith("process ")
    states = {trial.name: trial.state for trial in status.trials}
    assert states == {
        "ended": "finished", "failed": "failed", "runs": "running", "waits": "waiting",
    }  # fmt: skip
    ended, failed, runs, waits = status.trials
    assert failed.error == "the loss is nan"
    assert (runs.step, runs.steps, runs.loss) == (4, STEPS, pytest.approx(2.6))
    assert runs.left == pytest.approx(6.0)
    mean = (60.0 + runs.seconds) / 2  # what the last one is expected to take
    assert status.left == pytest.approx(max(mean, (6.0 + mean) / 2))
    assert (ended.left, waits.left) == (0.0, None)


def test_a_twin_is_named_with_its_other_and_is_no_work_to_come_and_no_mean(study):
    record = json.loads((study / "tracking.json").read_text())
    twin = next(run for run in record["runs"] if run["key"] == "waits")
    twin["tags"] = {"twin_of": "runs"}
    (study / "tracking.json").write_text(json.dumps(record))
    with locked(study):
        now = running(study, steps=4)
        before = read_status(study, now)
        folder = study / "trials" / "waits"
        mark_finished(folder, {}, {"key": "k", "seconds": 0.0, "twin_of": "runs"}, there=())
        after = read_status(study, now)
    for status in (before, after):
        assert (status.trials[-1].state, status.trials[-1].twin_of) == ("twin", "runs")
        assert status.left == pytest.approx(6.0), "of the one that runs alone"
    (folder / "result.json").unlink()
    (folder / "error.txt").write_text("it cannot differ from runs, which failed")
    assert read_status(study, now).trials[-1].state == "failed"


def test_of_a_trial_that_finished_the_mark_is_read_and_not_its_tables(study):
    mark = study / "trials" / "ended" / "result.json"
    mark.write_text(json.dumps({"key": "k", "seconds": 60.0, "files": {"gone.parquet": "1"}}))
    assert read_status(study).trials[0].state == "finished"


def test_a_trial_of_which_nobody_works_any_more_waits_and_nothing_is_written(study):
    now = running(study, steps=4, ago=100.0)
    before = sorted(path for path in study.rglob("*"))
    status = read_status(study, now)
    assert (status.holder, status.count("running"), status.count("waiting")) == (None, 0, 2)
    with locked(study):  # a later run, which has not come to the trial yet
        assert read_status(study, now).count("running") == 0
    (study / ".lock").unlink()
    assert sorted(path for path in study.rglob("*")) == before


def test_before_the_first_step_no_time_is_told_and_a_folder_without_a_study_is_refused(study):
    (study / "trials" / "ended" / "result.json").unlink()
    with locked(study):
        assert read_status(study, running(study, steps=0)).left is None
    with pytest.raises(DataError, match=r"holds no study\.yaml: give the folder of a study"):
        read_status(study / "trials")
