"""Jobs that are followed: over cut connections, without an answer, until Ctrl-C."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import orchestrator
from tests.jobs.commands import job_of, line_of, submit_from
from tests.jobs.head import BIN
from tests.jobs.tunnel import Tunnel
from tests.studies import COMMAND, orchestrate
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.ray, pytest.mark.slow]

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


@pytest.fixture
def tunnel(head):
    made = Tunnel(int(head.address.rpartition(":")[2]), CUT_SECONDS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def waiting(head):
    """A job of Ray's plain command that does nothing until it is stopped."""
    script = head.folder / "waiting.py"
    script.write_text(WAITING)
    begun = subprocess.run(
        [BIN / "ray", "job", "submit", "--no-wait", "--", sys.executable, script],
        env=head.environment(), capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    return job_of(begun)


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
    shown, errors = process.communicate(timeout=PATIENCE)
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
    _, errors = process.communicate(timeout=PATIENCE)
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
        env=head.environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert "JobLost: " in done.stderr
    assert "does not know this token" in done.stderr


def test_a_job_that_a_cluster_does_not_have_is_said_at_once(head):
    process = following("raysubmit_none", head.address, head)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "has no job raysubmit_none" in errors


def test_a_job_that_could_not_begin_says_why(head):
    begun = subprocess.run(
        [BIN / "ray", "job", "submit", "--no-wait", "--runtime-env-json",
         json.dumps({"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"}), "--", "true"],
        env=head.environment(), capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    process = following(job_of(begun), head.address, head)
    shown, errors = process.communicate(timeout=PATIENCE)
    assert shown.rstrip().endswith("FAILED")
    assert "_ray_pkg_0123456789abcdef.zip" in errors
    assert process.returncode == 1


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
        return screen + process.communicate(timeout=PATIENCE)[0], process.returncode
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
