"""Studies as jobs of a real cluster: submitted, failed, stopped, continued, refused."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

import orchestrator
from orchestrator.jobs.client import STOP_SECONDS
from tests.jobs.head import BIN, Head
from tests.jobs.tunnel import Tunnel
from tests.test_study import COMMAND, orchestrate, runs_of, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ARRANGED = {"method": "random", "rows": 24}
ONE_TRIAL = {"arrangement": ARRANGED, "sweep": {}}
# Of the head, for jobs that bring no environment of their own, as in `cluster/Dockerfile`.
GRACE = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
# A job that takes longer to end than Ray's own three seconds.
WAITING = """
import signal, sys, time

def end(*_):
    time.sleep(5)
    sys.exit("all is kept")

signal.signal(signal.SIGINT, end)
print("begun", flush=True)
time.sleep(600)
"""
CUT_SECONDS = 6.0
# The command line, with less patience than a connection lasts.
IMPATIENT = f"""
from orchestrator.cli import main
from orchestrator.jobs import client

client.PATIENCE, client.ANSWER_SECONDS = {CUT_SECONDS - 1}, {CUT_SECONDS}
main()
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    started = Head(tmp_path_factory.mktemp("head"), variables=GRACE)
    yield started
    started.stop()


@pytest.fixture
def tunnel(head):
    made = Tunnel(int(head.address.rpartition(":")[2]), CUT_SECONDS)
    yield made
    made.close()


def submit_from(folder, head, *arguments, token=None, **changes):
    """Submit a study from a folder, as its user does."""
    write_study(folder, **ONE_TRIAL | changes)
    return orchestrate(
        "submit", "study.yaml", "--output", folder / "shared", *arguments,
        cwd=folder, env=head.environment(token),
    )  # fmt: skip


@pytest.fixture
def submit(head, tmp_path):
    """Submits a study from a folder that git would leave out."""

    def run(*arguments, **changes):
        return submit_from(tmp_path, head, *arguments, **changes)

    return run


@pytest.fixture(scope="module")
def waiting(head):
    """A job of Ray's plain command that does nothing until it is stopped."""
    script = head.folder / "waiting.py"
    script.write_text(WAITING)
    begun = subprocess.run(
        [BIN / "ray", "job", "submit", "--no-wait", "--", sys.executable, script],
        env=head.environment(), capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    return job_of(begun)


def job_of(submitted):
    return re.search(r"raysubmit_\w+", submitted.stdout)[0]


def line_of(job, head):
    """What `jobs list` says of a job."""
    listed = orchestrate("jobs", "list", env=head.environment()).stdout
    return next(line for line in listed.splitlines() if job in line)


def following(job, address, head, *program):
    """A process that follows a job."""
    return subprocess.Popen(
        [*(program or COMMAND), "jobs", "logs", job, "--follow", "--address", address],
        env=head.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def clone_in(folder):
    """Make a folder a changed clone of this project; returns how a report names that."""
    shutil.copytree(Path(orchestrator.__file__).parent, folder / "orchestrator")
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    with (folder / "orchestrator" / "__init__.py").open("a") as file:
        file.write("\n")
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return f"{head.stdout.strip()}-dirty"


@pytest.fixture(scope="module")
def followed(head, tmp_path_factory):
    """A study submitted from a clone with an overlay, and followed over a tunnel that is cut."""
    folder = tmp_path_factory.mktemp("followed")
    (folder / "laptop.yaml").write_text("training: {max_steps: 2}\n")
    commit = clone_in(folder)
    job = job_of(submit_from(folder, head, "--no-wait", "--with", "laptop.yaml", "--set", "seed=3"))
    tunnel = Tunnel(int(head.address.rpartition(":")[2]), CUT_SECONDS)
    process = following(
        job, f"http://127.0.0.1:{tunnel.port}", head, sys.executable, "-c", IMPATIENT
    )
    shown, errors = process.communicate(timeout=300)
    tunnel.close()
    return SimpleNamespace(
        job=job, shown=shown, errors=errors, code=process.returncode, cuts=tunnel.cuts,
        study=folder / "shared" / "tiny", commit=commit,
    )  # fmt: skip


def test_a_submitted_study_is_run_with_its_overlays_and_proved(followed):
    assert followed.code == 0, followed.shown + followed.errors
    assert "seed: 3" in (followed.study / "study.yaml").read_text()
    assert ",2," in (followed.study / "summary.csv").read_text().splitlines()[1]
    assert orchestrate("verify", followed.study).returncode == 0


def test_a_followed_job_is_shown_whole_and_once_whatever_cuts_the_connection(followed, head):
    assert followed.cuts > 1, "one that was told, and one that was not"
    whole = orchestrate("jobs", "logs", followed.job, env=head.environment()).stdout
    assert "done report" in whole
    assert followed.shown == f"{whole}{followed.job}: SUCCEEDED\n"


def test_a_job_from_a_clone_runs_the_clone_and_records_its_commit(followed):
    assert json.loads((followed.study / "run.json").read_text())["git_commit"] == followed.commit


def test_a_cluster_that_stays_out_of_reach_is_no_success_and_no_mistake(waiting, head, tunnel):
    process = following(
        waiting, f"http://127.0.0.1:{tunnel.port}", head, sys.executable, "-c", IMPATIENT
    )
    assert process.stdout.readline()
    tunnel.close()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "nobody answers" in errors
    assert f"orchestrator jobs logs {waiting} --follow --address" in errors


def test_a_token_that_is_no_longer_known_ends_the_following_of_a_job_in_a_sentence(waiting, head):
    script = (
        "from orchestrator.jobs.client import Jobs; jobs = Jobs(None); "
        "jobs._client._headers.update(Authorization='Bearer ' + '0' * 64); "
        f"jobs.follow('{waiting}', print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=head.environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "JobLost: " in done.stderr
    assert "does not know this token" in done.stderr


def test_a_job_that_a_cluster_does_not_have_is_said_at_once(head):
    process = following("raysubmit_none", head.address, head)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "has no job raysubmit_none" in errors


def press_ctrl_c(job, head, answer):
    """Follow a job at a terminal, press Ctrl-C once it prints, and answer; its screen and code."""
    terminal, stdin = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "jobs", "logs", job, "--follow"],
        env=head.environment(), stdin=stdin, stdout=subprocess.PIPE, text=True,
        # Whatever runs the tests in the background ignores it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    try:
        screen = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        os.write(terminal, f"{answer}\n".encode())
        return screen + process.communicate(timeout=200)[0], process.returncode
    finally:
        process.kill()
        os.close(terminal)
        os.close(stdin)


def test_ctrl_c_asks_whether_the_job_is_to_stop(waiting, head):
    screen, code = press_ctrl_c(waiting, head, "n")
    assert "Stop the job?" in screen
    assert f"it goes on: orchestrator jobs logs {waiting} --follow" in screen
    assert code == 130
    assert "RUNNING" in line_of(waiting, head)
    screen, code = press_ctrl_c(waiting, head, "y")
    assert screen.rstrip().endswith("STOPPED")
    assert code == 3
    assert "STOPPED" in line_of(waiting, head)
    kept = orchestrate("jobs", "logs", waiting, env=head.environment()).stdout
    assert "all is kept" in kept, "a plain job has the grace period of its head"


def test_the_plain_command_of_ray_runs_a_study_too(head, tmp_path):
    write_study(tmp_path, **ONE_TRIAL)
    done = subprocess.run(
        [BIN / "ray", "job", "submit", "--working-dir", tmp_path, "--",
         "orchestrator", "run", "study.yaml", "--output", tmp_path / "shared"],
        env=head.environment(), capture_output=True, text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert orchestrate("verify", tmp_path / "shared" / "tiny").returncode == 0


def test_a_job_with_a_failing_trial_has_the_exit_code_of_its_study(submit):
    done = submit(training={"global_batch": 4, "learning_rate": 1e30, "clip": None})
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("FAILED")


def test_a_stopped_job_keeps_its_checkpoint_and_the_same_submission_finishes_it(
    submit, head, tmp_path
):
    changes = {
        "training": {"global_batch": 4, "learning_rate": 1e-3, "checkpoint": {"every": 1}},
        "evaluation": {"every": 1},
        "arrangement": {"method": "random", "rows": 200},
    }
    begun = submit("--no-wait", **changes)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    job, trials = job_of(begun), tmp_path / "shared" / "tiny" / "trials"
    end = time.monotonic() + 200
    while not list(trials.glob("*/checkpoints/step-*")) and time.monotonic() < end:
        time.sleep(0.2)
    asked = time.monotonic()
    stopped = orchestrate("jobs", "stop", job, env=head.environment())
    assert time.monotonic() - asked < STOP_SECONDS / 2
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert stopped.stdout.rstrip().endswith("STOPPED")
    assert list(trials.glob("*/checkpoints/step-*")), "checkpoints are kept"
    assert not list(trials.glob("*/result.json"))
    _, runs = runs_of(tmp_path / "shared")
    assert [run.info.status for run in runs] == ["KILLED", "KILLED"], "closed, and not as failed"
    followed = orchestrate("jobs", "logs", job, "--follow", env=head.environment())
    assert followed.returncode == 3, "a stopped job is no success"

    again = submit(**changes)
    assert again.returncode == 0, again.stdout + again.stderr
    (journal,) = trials.glob("*/journal.jsonl")
    assert '"resume"' in journal.read_text()
    assert orchestrate("verify", tmp_path / "shared" / "tiny").returncode == 0
    _, runs = runs_of(tmp_path / "shared")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    assert "STOPPED" in line_of(job, head)


def test_nodes_that_the_autoscaler_may_add_count_and_no_more(submit, head):
    """As `ray up` leaves its configuration on the head; the head itself has three cores."""
    groups = {"small": {"resources": {"CPU": 1}, "max_workers": 5}}
    training = {"global_batch": 12, "learning_rate": 1e-3, "zero_stage": 2}
    file = head.folder / "ray_bootstrap_config.yaml"
    file.write_text(yaml.safe_dump({"available_node_types": groups}))
    try:
        refused = submit(training=training | {"workers": 6})
        waits = job_of(submit("--no-wait", training=training | {"workers": 5}))
        end = time.monotonic() + 200
        while "done ray" not in orchestrate("jobs", "logs", waits, env=head.environment()).stdout:
            assert time.monotonic() < end
    finally:
        file.unlink()
    assert orchestrate("jobs", "stop", waits, env=head.environment()).returncode == 0
    assert refused.returncode == 2
    assert "needs 6 workers of 1 CPU; the cluster has room for 5" in refused.stdout


def test_a_wrong_token_and_an_absent_cluster_are_told_and_nothing_is_submitted(head, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    before = orchestrate("jobs", "list", env=head.environment()).stdout
    refused = submit_from(tmp_path, head, token=wrong)
    assert refused.returncode == 2
    assert "does not know this token: set RAY_AUTH_MODE=token" in refused.stderr
    absent = submit_from(tmp_path, head, "--address", "http://127.0.0.1:9")
    assert absent.returncode == 2
    assert "nobody answers at http://127.0.0.1:9" in absent.stderr
    assert orchestrate("jobs", "list", env=head.environment()).stdout == before


def test_results_in_a_folder_that_ends_with_the_job_are_refused(submit):
    for option, value, advice in (
        ("--output", "outputs", "--output /shared/outputs"),
        ("--set", "store=here", "--set store=/shared/store"),
    ):
        refused = submit(option, value)
        assert refused.returncode == 2
        assert advice in refused.stderr
