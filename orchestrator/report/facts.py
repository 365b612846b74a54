"""What a study ran on: machine, packages, commit; each is asked once a process."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "arrangement-orchestrator", "ray", "torch", "transformers", "deepspeed", "peft",
    "sentence-transformers", "mlflow", "numpy", "pyarrow",
)  # fmt: skip


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
        "cores": os.cpu_count() or 1,
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


@cache
def git_commit() -> str | None:
    """The commit of this package, `-dirty` after it where files were changed since.

    None where it does not run from a clone: an installed one has its version.
    """
    # A virtual environment inside another repository is not part of that one.
    return _git("ls-files", __file__) and _git(
        "describe", "--always", "--exclude=*", "--dirty", "--abbrev=40"
    )


def _git(*arguments: str) -> str | None:
    """What git says in the folder of this package; None where it fails or says nothing."""
    # Without locks: whoever works in the clone meanwhile may commit.
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
