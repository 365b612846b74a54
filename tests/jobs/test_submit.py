"""Studies as jobs of a real cluster: submitted, failed, stopped, continued, refused."""

import re
import subprocess
import time

import pytest

from tests.jobs.head import BIN, Head
from tests.test_study import orchestrate, write_study

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ARRANGED = {"method": "random", "rows": 24}
ONE_TRIAL = {"arrangement": ARRANGED, "sweep": {}}
STEPS = 24 // 4


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    started = Head(tmp_path_factory.mktemp("head"))
    yield started
    started.stop()


@pytest.fixture
def submit(head, tmp_path):
    """Submits a study from a folder that git would leave out, as its user does."""

    def run(*arguments, **changes):
        write_study(tmp_path, **ONE_TRIAL | changes)
        return orchestrate(
            "submit", "study.yaml", "--output", tmp_path / "shared", *arguments,
            cwd=tmp_path, env=head.environment(),
        )  # fmt: skip

    return run


def job_of(submitted):
    return re.search(r"raysubmit_\w+", submitted.stdout)[0]


def test_a_submitted_study_is_run_shown_and_proved(submit, tmp_path):
    (tmp_path / "laptop.yaml").write_text("training: {max_steps: 2}\n")
    done = submit("--with", "laptop.yaml", "--set", "seed=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done report") == 1, "its output is shown, once"
    assert done.stdout.rstrip().endswith("SUCCEEDED")
    study = tmp_path / "shared" / "tiny"
    assert "seed: 3" in (study / "study.yaml").read_text()
    assert ",2," in (study / "summary.csv").read_text().splitlines()[1]
    assert orchestrate("verify", study).returncode == 0


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
    while not list(trials.glob("*/checkpoints/*")) and time.monotonic() < end:
        time.sleep(0.2)
    stopped = orchestrate("jobs", "stop", job, env=head.environment())
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert stopped.stdout.rstrip().endswith("STOPPED")
    assert list(trials.glob("*/checkpoints/*")), "checkpoints are kept"
    assert not list(trials.glob("*/result.json"))
    followed = orchestrate("jobs", "logs", job, "--follow", env=head.environment())
    assert followed.returncode == 3, "a stopped job is no success"

    again = submit(**changes)
    assert again.returncode == 0, again.stdout + again.stderr
    (journal,) = trials.glob("*/journal.jsonl")
    assert '"resume"' in journal.read_text()
    assert orchestrate("verify", tmp_path / "shared" / "tiny").returncode == 0
    listed = orchestrate("jobs", "list", env=head.environment()).stdout
    assert "STOPPED" in next(line for line in listed.splitlines() if job in line)


def test_a_wrong_token_and_an_absent_cluster_are_told_and_nothing_is_submitted(head, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    refused = orchestrate("jobs", "list", env=head.environment(wrong))
    assert refused.returncode == 2
    assert "does not know this token: set RAY_AUTH_MODE=token" in refused.stderr
    nobody = ("jobs", "list", "--address", "http://127.0.0.1:9")
    absent = orchestrate(*nobody, env=head.environment())
    assert absent.returncode == 2
    assert "nobody answers at http://127.0.0.1:9" in absent.stderr


def test_results_in_a_folder_that_ends_with_the_job_are_refused(head, tmp_path):
    write_study(tmp_path, **ONE_TRIAL)
    refused = orchestrate("submit", "study.yaml", cwd=tmp_path, env=head.environment())
    assert refused.returncode == 2
    assert "--output /shared/outputs" in refused.stderr
