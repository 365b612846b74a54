"""What a study ran on: machine, packages, commit; each is asked once a process."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.host.share import cores, memory

PACKAGES = (
    "arrangement-orchestrator", "ray", "torch", "transformers", "deepspeed", "peft",
    "sentence-transformers", "mlflow", "numpy", "pyarrow",
)  # fmt: skip
COMMIT_VARIABLE = "ORCHESTRATOR_GIT_COMMIT"


@cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


@cache
def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GiB and GPUs of the machine that drives the study."""
    import torch

    return {
        "cpu": _processor(),
        "cores": cores(),
        "memory_gib": memory() / 2**30,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


@cache
def git_commit() -> str | None:
    """The commit of this package, `-dirty` after it where files were changed since.

    Of a job, whose package was sent without its repository, it is what `COMMIT_VARIABLE` says.
    None where the package came neither way from a clone: an installed one has its version.
    """
    return commit_of(Path(__file__)) or os.environ.get(COMMIT_VARIABLE)


def commit_of(file: Path) -> str | None:
    """The commit of the clone that tracks a file, as `git_commit`; None where none does."""
    # A virtual environment inside another repository is not part of that one.
    return _git(file.parent, "ls-files", file.name) and _git(
        file.parent, "describe", "--always", "--exclude=*", "--dirty", "--abbrev=40"
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in a folder; None where it fails or says nothing."""
    # Without locks: whoever works in the clone meanwhile may commit.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return answer.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
