"""A trial whose process dies or freezes, in a study that goes on."""

import json
import re
import signal
import socket
import subprocess
import time

import psutil
import pyarrow.parquet as pq
import pytest

from tests.studies import COMMAND, orchestrate, runs_of, trial_folders, write_study
from tests.study.undisturbed import train_undisturbed
from tests.waiting import PATIENCE, descendants_named, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def newest_process_named(name, parent):
    """The newest descendant of a process that has a name."""
    return max(descendants_named(name, parent), key=lambda each: each.create_time())


@pytest.mark.scenario("kill-rank", "frozen-rank", "many-kills")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_trial_whose_rank_is_killed_or_frozen_continues_from_its_checkpoint_with_the_same_losses(
    tmp_path, store, sent
):
    settings = {
        "arrangement": {"method": "random", "rows": 40},
        "training": {
            "global_batch": 1,
            "learning_rate": 1e-3,
            "checkpoint": {"every": 10},
            "hang_timeout": 10.0,
        },
        "evaluation": {"every": 20, "measures": False},
        "sweep": {"parameters": {"training.workers": {"grid": [1, 2]}}, "failure_retries": 1},
    }
    path = write_study(tmp_path, store=store, **settings)
    output = tmp_path / "out"
    trials = output / "tiny" / "trials"
    process = subprocess.Popen(
        [*COMMAND, "run", str(path), "--output", str(output)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    ended = []
    for workers, name in {1: "ray::ImplicitFunc", 2: "ray::RayTrainWorker"}.items():
        wait_until(
            lambda workers=workers: any(
                '"event": "checkpoint"' in journal.read_text()
                for journal in trials.glob(f"workers-{workers}-*/journal.jsonl")
            ),
            process,
        )
        ended.append(newest_process_named(name, process.pid))
        ended[-1].send_signal(sent)
        began = time.monotonic()
        wait_until(lambda: not ended[-1].is_running(), process)
        assert time.monotonic() - began < 240, "Ray ends a frozen one after 400 s"
    screen, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, screen
    told = re.findall(r"rank [01] \((process \d+ on node .*)\) is frozen [^:]*: no", screen)
    assert told == [
        f"process {each.pid} on node {socket.gethostname()}"
        for each in ended
        if sent == signal.SIGSTOP
    ]
    train_undisturbed(path, tmp_path / "left", store)
    for name, folder in trial_folders(tmp_path / "left" / "tiny").items():
        disturbed = trial_folders(output / "tiny")[name]
        resumed = [json.loads(line) for line in (disturbed / "journal.jsonl").open()]
        assert "resume" in {event["event"] for event in resumed}
        for table in ("losses.parquet", "realised.parquet"):
            assert pq.read_table(folder / table).equals(pq.read_table(disturbed / table))


@pytest.mark.scenario("stop-signal")
def test_a_study_that_is_told_to_stop_twice_closes_what_is_open_and_is_finished_by_the_same_command(
    tmp_path, store
):
    settings = {
        "arrangement": {"method": "random", "rows": 80},
        "training": {"global_batch": 1, "learning_rate": 1e-3, "checkpoint": {"every": 5}},
        "evaluation": {"every": 40, "measures": False},
    }
    path, output = write_study(tmp_path, store=store, sweep={}, **settings), tmp_path / "out"
    trials = output / "tiny" / "trials"
    process = subprocess.Popen(
        [*COMMAND, "run", str(path), "--output", str(output)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_until(lambda: list(trials.glob("*/checkpoints/step-*")), process)
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    screen, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, screen
    assert (
        " unfinished: the study was interrupted: run the same command again to finish it" in screen
    )
    assert "later trials                         0 finished, 1 interrupted" in screen
    assert " failed" not in screen
    assert "Traceback" not in screen
    assert list(trials.glob("*/checkpoints/step-*"))
    assert not list(trials.glob("*/result.json"))
    assert ",unfinished," in (output / "tiny" / "summary.csv").read_text()
    assert {run.info.status for run in runs_of(output)[1]} == {"KILLED"}
    wait_until(lambda: not any(each.is_running() for each in below))
    again = orchestrate("run", path, "--output", output)
    assert again.returncode == 0, again.stdout + again.stderr
    (journal,) = trials.glob("*/journal.jsonl")
    assert '"resume"' in journal.read_text()
    assert {run.info.status for run in runs_of(output)[1]} == {"FINISHED"}
