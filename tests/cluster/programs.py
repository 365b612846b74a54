"""What programs that are no Python say of a command, which they are kept from carrying out."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SECONDS = 60
VARIABLE = re.compile(r"\$(\{[^}]*\}|\w*)")
# What gcloud and aws answer to a command that they have checked, and cannot carry out.
UNABLE = {"gcloud": "do not currently have an active account", "aws": "Could not connect to"}


def complaint(call: list[str], home: Path) -> str:
    """What a program has against a command; empty if it knows the command and its options.

    Args:
        call: of aws, docker, gcloud, helm, kubectl or sbatch, its words.
        home: a folder without settings: the program finds no account and no cluster.
    """
    program = call[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    if call[:2] == ["docker", "compose"] and _run(["docker", "compose", "version"], home)[0]:
        pytest.skip("docker has no compose")
    filled = [VARIABLE.sub("given-by-the-shell", word) for word in call]
    if program in UNABLE:
        code, said = _run(filled, home)
        return "" if code == 0 or UNABLE[program] in said else said
    # These read all options before they answer with their help.
    code, said = _run([*filled, "--help"], home)
    return said if code else ""


def _run(call: list[str], home: Path) -> tuple[int, str]:
    """The exit code of a call without accounts and without a network, and its errors."""
    slurm = home / "slurm.conf"
    slurm.write_text("ClusterName=none\nSlurmctldHost=localhost\n")
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "SLURM_CONF": str(slurm),
        "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_MAX_ATTEMPTS": "1",
        "AWS_DEFAULT_REGION": "us-west-2", "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false", "CLOUDSDK_CORE_PROJECT": "none",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true", "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1", "CLOUDSDK_PROXY_PORT": "9",
    }  # fmt: skip
    ran = subprocess.run(
        call, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stderr
