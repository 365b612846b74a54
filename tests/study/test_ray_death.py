"""Ray that dies under a study: what is told, what is left, and how the study goes on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from orchestrator.errors import RayDied
from orchestrator.study.ray_death import INTERRUPT, told_if_ray_dies
from orchestrator.training.journal import read_journal
from tests.jobs.head import Head
from tests.studies import COMMAND, orchestrate, runs_of, write_study
from tests.waiting import PATIENCE, lives, wait_until

DIED = RayDied("raylet", "/tmp/ray/logs")
STUCK = """
import subprocess, sys, time
from orchestrator.errors import RayDied
from orchestrator.study import ray_death

ray_death.LOOK_SECONDS, ray_death.END_SECONDS = 0.1, 1.0
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
died = RayDied("raylet", "/tmp/ray/logs")
closed = ray_death.closed_anyway(lambda: print("closed", flush=True))
with ray_death.told_if_ray_dies(lambda: died, print), closed:
    while True:  # as a call of Ray's that does not return
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""
MEASURING = """
import threading, time
import psutil, ray
from orchestrator.errors import RayDied
from orchestrator.screen import Screen
from orchestrator.study import benchmarks
from orchestrator.study.cluster import cluster

class Model:
    class asked:
        tasks = ["colours"]

def end_ray():
    (raylet,) = [each for each in psutil.Process().children() if each.name() == "raylet"]
    raylet.kill()

benchmarks.results_digest = benchmarks.unmeasured = lambda model: "new"
benchmarks._start = lambda model: ray.remote(lambda: time.sleep(600)).remote()
try:
    with cluster(1), Screen() as screen:
        threading.Timer(1.0, end_ray).start()
        print("measured", benchmarks.run_models([Model()], screen))
except RayDied as died:
    print(died)
"""


@pytest.mark.scenario("ray-death")
def test_what_waits_for_ray_is_ended_once_it_has_died():
    before, began = signal.getsignal(INTERRUPT), time.monotonic()
    with pytest.raises(RayDied, match="its raylet is gone"), told_if_ray_dies(lambda: DIED, list):
        threading.Event().wait(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert signal.getsignal(INTERRUPT) == before


@pytest.mark.parametrize(("died", "told"), [(DIED, RayDied), (None, KeyError)])
def test_an_error_is_told_as_rays_death_only_where_ray_has_died(died, told):
    with pytest.raises(told), told_if_ray_dies(lambda: died, list):
        raise KeyError("what Ray says then")


def in_a_process_of_its_own(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.scenario("ray-death")
def test_a_process_that_does_not_come_back_from_ray_is_ended_with_what_it_started():
    stuck = in_a_process_of_its_own(STUCK)
    assert stuck.returncode == RayDied.exit_code
    assert stuck.stderr.startswith("error: Ray has died: its raylet is gone")
    started, closed = stuck.stdout.split()
    assert closed == "closed"
    wait_until(
        lambda: int(started) not in {each.pid for each in psutil.process_iter() if lives(each)}
    )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("ray-death")
def test_rays_death_while_models_are_measured_is_not_taken_for_ctrl_c():
    ended = in_a_process_of_its_own(MEASURING)
    assert "Ray has died: its raylet is gone" in ended.stdout, ended.stdout + ended.stderr
    assert "measured" not in ended.stdout


def seeds_of_120_steps(folder, store):
    """A study file."""
    return write_study(
        folder,
        store=store,
        arrangement={"method": "random", "rows": 120},
        training={"global_batch": 1, "checkpoint": {"every": 20}},
        evaluation={"every": 60, "measures": False},
        sweep={"parameters": {"seed": {"grid": [0, 1]}}},
    )


def check_told(process, what, output):
    """It ends soon, with the sentence and the exit code, and closes the runs of MLflow."""
    began = time.monotonic()
    screen, _ = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 55, "Ray takes a minute, or for ever"
    assert process.returncode == RayDied.exit_code, screen
    assert re.search(f"error: Ray has died: its {what} is gone", screen), screen
    assert "Traceback" not in screen
    assert "RUNNING" not in {run.info.status for run in runs_of(output)[1]}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("ray-death")
def test_a_study_whose_ray_dies_says_so_leaves_no_process_and_is_finished_by_the_same_command(
    tmp_path, store
):
    path, output = seeds_of_120_steps(tmp_path, store), tmp_path / "out"
    for trial, name in (("seed-0", "raylet"), ("seed-1", "gcs_server")):
        process = subprocess.Popen(
            [*COMMAND, "run", str(path), "--output", str(output)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        wait_until(lambda trial=trial: has_checkpoint(output, trial), process)
        started = psutil.Process(process.pid).children(recursive=True)
        (found,) = [each for each in started if each.name() == name]
        os.kill(found.pid, signal.SIGKILL)
        check_told(process, name, output)
        end = time.monotonic() + 30
        while left := [each for each in started if lives(each)]:
            assert time.monotonic() < end, left
            time.sleep(0.5)
    again = orchestrate("run", path, "--output", output)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {run.info.status for run in runs_of(output)[1]} == {"FINISHED"}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.scenario("ray-death")
def test_a_study_whose_cluster_dies_says_so(tmp_path, store):
    path, output = seeds_of_120_steps(tmp_path, store), tmp_path / "out"
    (tmp_path / "head").mkdir()
    head = Head(tmp_path / "head")
    try:
        process = subprocess.Popen(
            [*COMMAND, "run", str(path), "--output", str(output)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=head.environment() | {"RAY_ADDRESS": f"127.0.0.1:{head.port}"},
        )  # fmt: skip
        wait_until(lambda: has_checkpoint(output, "seed-0"), process)
        (gcs,) = [each for each in head.processes() if each.name() == "gcs_server"]
        gcs.kill()
        check_told(process, rf"GCS at \S+:{head.port}", output)
    finally:
        head.stop()


def has_checkpoint(output, trial):
    """Whether the journal of a trial tells of one."""
    folders = (output / "tiny" / "trials").glob(f"{trial}-*")
    events = [event for folder in folders for event in read_journal(folder)]
    return any(event["event"] == "checkpoint" for event in events)
