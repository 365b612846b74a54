"""Studies as jobs of a real cluster: submitted, failed, stopped, continued, refused."""

import csv
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from orchestrator.jobs.client import STOP_SECONDS
from tests import canaries
from tests.jobs.commands import ONE_TRIAL, job_of, line_of, submit_from
from tests.jobs.head import BIN
from tests.jobs.tunnel import Tunnel
from tests.studies import orchestrate, runs_of, write_study
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def plain(head, folder, *arguments, runtime_env=None):
    """Ray's own command, which waits for the job."""
    return subprocess.run(
        [BIN / "ray", "job", "submit", "--working-dir", folder,
         "--runtime-env-json", json.dumps(runtime_env or {}),
         "--", "orchestrator", "run", "study.yaml", *arguments],
        env=head.environment(), capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def test_the_plain_command_of_ray_runs_a_study_too(head, tmp_path, store):
    write_study(tmp_path, store=store, **ONE_TRIAL)
    # A variable that the study would set as well.
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "HF_TOKEN": "a-secret"}}
    done = plain(head, tmp_path, "--output", tmp_path / "shared", runtime_env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a-secret" not in done.stdout
    assert orchestrate("verify", tmp_path / "shared" / "tiny").returncode == 0


def test_a_plain_job_is_refused_that_would_leave_its_results_in_a_folder_of_ray(head, tmp_path):
    write_study(tmp_path, **ONE_TRIAL)
    refused = plain(head, tmp_path)
    assert refused.returncode != 0
    assert "ends with it: give one that all nodes share, as in --output" in refused.stdout


def test_a_submission_whose_answer_is_lost_is_no_second_and_no_unknown_job(submit, head):
    tunnel = Tunnel(int(head.address.rpartition(":")[2]), 60.0, lost=b"POST /api/jobs/ ")
    try:
        begun = submit("--no-wait", "--address", f"http://127.0.0.1:{tunnel.port}")
    finally:
        tunnel.close()
    assert begun.returncode == 0, begun.stderr
    job = job_of(begun)
    assert job in line_of(job, head)
    assert orchestrate("jobs", "stop", job, env=head.environment()).returncode == 0


def test_a_token_does_not_go_through_the_proxy_of_the_environment(head):
    proxied = head.environment() | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.org"}
    listed = orchestrate("jobs", "list", env=proxied)
    assert listed.returncode == 0, listed.stderr


@pytest.fixture(scope="module")
def uneven(head, tmp_path_factory, store):
    """A job over two data sets, whose second trial fails; its output, and how it ended."""
    folder = tmp_path_factory.mktemp("uneven")
    canaries.plant(folder)
    sweep = {
        "paired": [
            [
                {"label": "good", "data.pool.max_per_task": 3},
                {"label": "bad", "training.learning_rate": 1e30, "training.clip": None},
            ]
        ]
    }
    return folder / "shared", submit_from(folder, head, store=store, sweep=sweep)


@pytest.mark.scenario("not-finite")
def test_a_trial_that_fails_is_named_and_leaves_the_others_running(uneven):
    output, done = uneven
    assert re.search(r"bad-\w{8} failed: step \d: the training loss is", done.stdout)
    rows = list(csv.DictReader((output / "tiny" / "summary.csv").open()))
    assert [row["status"] for row in rows] == ["finished", "failed"]
    statuses = sorted(run.info.status for run in runs_of(output)[1])
    assert statuses == ["FAILED", "FAILED", "FINISHED"]
    tune = output / "tiny" / "ray" / "tune"
    assert not list(tune.rglob("error.pkl")), "what would fail again is not tried again"


def test_a_job_with_a_failing_trial_has_the_exit_code_of_its_study(uneven):
    _, done = uneven
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("FAILED")


@pytest.mark.scenario("secrets", "ray")
def test_no_secret_of_an_environment_or_the_folder_is_in_what_a_job_leaves(uneven, head):
    """Those of the machine that submits, and those of the cluster."""
    output, done = uneven
    assert canaries.MARK not in done.stdout + done.stderr
    session = Path(head.session)
    assert list(session.rglob("job-driver-raysubmit_*.log"))
    assert list(session.rglob("working_dir_files/**/study.yaml")), "the package"
    assert canaries.leaks(output, session, head.folder) == []
    assert canaries.leaks(output, session, mark=head.token.read_text()) == []


def test_the_record_keeps_the_counts_of_every_data_set_apart(uneven):
    facts = json.loads((uneven[0] / "tiny" / "run.json").read_text())
    pools = [data_set["splits"]["pool"]["instances"] for data_set in facts["data"]]
    assert pools == [150, 200]
    assert [len(data_set["trials"]) for data_set in facts["data"]] == [1, 1]


@pytest.mark.scenario("stop-signal")
def test_a_stopped_gang_keeps_its_checkpoint_and_the_same_submission_finishes_it(
    submit, head, tmp_path
):
    changes = {
        "training": {
            "global_batch": 2, "learning_rate": 1e-3, "workers": 2, "zero_stage": 2,
            "checkpoint": {"every": 1},
        },
        "evaluation": {"every": 1, "measures": False},
        # It must not end before the command that stops it has started.
        "arrangement": {"method": "random", "rows": 80},
    }  # fmt: skip
    begun = submit("--no-wait", **changes)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    job, trials = job_of(begun), tmp_path / "shared" / "tiny" / "trials"
    wait_until(lambda: list(trials.glob("*/checkpoints/step-*")))
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
        refused = submit(training=training | {"workers": 9, "global_batch": 18})
        waits = job_of(submit("--no-wait", training=training | {"workers": 8, "global_batch": 16}))
        wait_until(
            lambda: "done ray" in orchestrate("jobs", "logs", waits, env=head.environment()).stdout
        )
    finally:
        file.unlink()
    assert orchestrate("jobs", "stop", waits, env=head.environment()).returncode == 0
    assert refused.returncode == 2
    assert "needs 9 workers of 1 CPU; the cluster has room for 8" in refused.stdout


@pytest.mark.scenario("ray")
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
