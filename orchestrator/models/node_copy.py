"""Models on a node's own disk: read once from shared storage, then by every rank of every trial.

For clusters whose shared storage is slower than a local disk. Not for one machine: there the
model's folder is local already, and its pages stay in memory.
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from orchestrator.models.folder import model_files


def on_this_node(folder: Path, digest: str, cache: str | None) -> Path:
    """A model's folder, or its copy on this node; the first process makes it, others wait.

    Args:
        digest: of the model's files; another model never takes its place.
        cache: folder on the node's own disk; None reads the model where it is.
    """
    if cache is None:
        return folder
    root = Path(cache)
    root.mkdir(parents=True, exist_ok=True)
    copy = root / digest[:32]
    with (root / f".{copy.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the operating system lets go of a killed process's
        if not copy.is_dir():
            # Of one name, so that what a killed process left takes no room for ever.
            made = root / f".{copy.name}.part"
            shutil.rmtree(made, ignore_errors=True)
            for path in model_files(folder):
                target = made / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            made.rename(copy)
    return copy
