"""A trial whose process dies, in a study that goes on."""

import json
import subprocess

import psutil
import pyarrow.parquet as pq
import pytest

from tests.studies import COMMAND, trial_folders, write_study
from tests.study.undisturbed import train_undisturbed
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def kill_process_named(name, parent):
    """SIGKILL to the newest descendant of a process that has a name."""
    found = [each for each in psutil.Process(parent).children(recursive=True)
             if " ".join(each.cmdline()).startswith(name)]  # fmt: skip
    max(found, key=lambda each: each.create_time()).kill()


@pytest.mark.scenario("kill-rank")
def test_a_trial_whose_process_is_killed_continues_from_its_checkpoint_with_the_same_losses(
    tmp_path, store
):
    settings = {
        "arrangement": {"method": "random", "rows": 40},
        "training": {"global_batch": 1, "learning_rate": 1e-3, "checkpoint": {"every": 10}},
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
    for workers, name in {1: "ray::ImplicitFunc", 2: "ray::RayTrainWorker"}.items():
        wait_until(
            lambda workers=workers: any(
                '"event": "checkpoint"' in journal.read_text()
                for journal in trials.glob(f"workers-{workers}-*/journal.jsonl")
            ),
            process,
        )
        kill_process_named(name, process.pid)
    screen, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, screen
    train_undisturbed(path, tmp_path / "left", store)
    for name, folder in trial_folders(tmp_path / "left" / "tiny").items():
        disturbed = trial_folders(output / "tiny")[name]
        resumed = [json.loads(line) for line in (disturbed / "journal.jsonl").open()]
        assert "resume" in {event["event"] for event in resumed}
        for table in ("losses.parquet", "realised.parquet"):
            assert pq.read_table(folder / table).equals(pq.read_table(disturbed / table))
