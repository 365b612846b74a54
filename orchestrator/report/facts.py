"""What a study ran on: machine, packages, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "arrangement-orchestrator", "ray", "torch", "transformers", "deepspeed", "peft",
    "sentence-transformers", "mlflow", "numpy", "pyarrow",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def hardware() -> dict[str, Any]:
    """Processor, cores, memory in GiB and GPUs of the machine that drives the study."""
    import torch

    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def git_commit() -> str | None:
    """The commit of the working folder, None outside a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
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
