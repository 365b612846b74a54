"""A disk that fills while a study trains."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from orchestrator.errors import DiskError
from orchestrator.storage.artifacts import sound
from orchestrator.training.journal import read_journal
from tests.disks import only_read, small_disk
from tests.studies import COMMAND, orchestrate, trial_folders, write_study
from tests.waiting import PATIENCE, wait_until


def events(trials, name):
    return [event for folder in trials.glob("*") for event in read_journal(folder)
            if event["event"] == name]  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("full-disk", "read-only")
def test_a_disk_that_fills_or_turns_read_only_rays_too_ends_a_study_with_a_sentence_and_it_goes_on(
    tmp_path, store
):
    settings = {
        "arrangement": {"method": "random", "rows": 40},
        "training": {"global_batch": 1, "learning_rate": 1e-3, "checkpoint": {"every": 5}},
        "evaluation": {"every": 40, "measures": False},
        "sweep": {"parameters": {"seed": [0, 1]}, "failure_retries": 3},
    }
    path = write_study(tmp_path, store=store, **settings)
    with small_disk(tmp_path / "disk") as disk:
        trials = disk.path / "out" / "tiny" / "trials"
        command = [*COMMAND, "run", str(path), "--output", str(disk.path / "out")]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until(lambda: events(trials, "checkpoint"), process, pause=0.01)
        while process.poll() is None and not _filled(disk):
            time.sleep(0.01)
        screen, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == DiskError.exit_code, screen
        assert "Traceback" not in screen
        *_, said = screen.splitlines()
        assert said.startswith(f"error: {trials.parent}"), screen
        assert "cannot be written: no space is left on its disk" in said
        assert "failed trials                         0 finished, 1 failed" in screen
        (begun,) = [each for each in trials.iterdir() if read_journal(each)]
        assert len(events(trials, "start")) == 1
        assert not events(trials, "resume")
        kept = list(begun.glob("checkpoints/*"))
        assert kept
        assert all(map(sound, kept))
        assert not list(begun.rglob(".*"))
        disk.grow()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until(lambda: events(trials, "resume"), process, pause=0.01)
        with only_read(trials):
            screen, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == DiskError.exit_code, screen
        assert "Traceback" not in screen
        *_, said = screen.splitlines()
        assert said.startswith(f"error: {trials}"), screen
        assert "cannot be written: its disk can only be read" in said
        # A short path: Ray's sockets are there.
        with tempfile.TemporaryDirectory() as short, small_disk(Path(short)) as rays:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=os.environ | {"RAY_TMPDIR": str(rays.path)},
            )  # fmt: skip
            resumed = len(events(trials, "resume"))
            wait_until(lambda: len(events(trials, "resume")) > resumed, process, pause=0.01)
            while process.poll() is None and not _filled(rays):
                time.sleep(0.01)
            screen, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == DiskError.exit_code, screen
        assert "Traceback" not in screen
        *_, said = screen.splitlines()
        assert said.startswith(f"error: {rays.path}"), screen
        assert "cannot be written: no space is left on its disk" in said
        again = orchestrate("run", path, "--output", disk.path / "out")
        assert again.returncode == 0, again.stdout + again.stderr
        assert len(trial_folders(disk.path / "out" / "tiny")) == 2
        assert events(trials, "resume")


def _filled(disk):
    """Whether there was a moment at which nothing was left."""
    try:
        disk.leave(0)
    except subprocess.CalledProcessError:  # more was taken meanwhile
        return False
    return True
