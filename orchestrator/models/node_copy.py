"""Models on a node's own disk: read once from shared storage, then by every rank of every trial.

For clusters whose shared storage is slower than a local disk. Not for one machine: there the
model's folder is local already, and its pages stay in memory.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from pathlib import Path

from orchestrator.errors import ModelError
from orchestrator.models.folder import fingerprint, model_files
from orchestrator.storage.disk import writing


def on_this_node(folder: Path, digest: str, cache: str | None) -> Path:
    """A model's folder, or its copy on this node; the first process makes it, others wait.

    Every byte of a copy is compared with the digest, by the first of the processes that wait: a
    disk may lose some, and a copy is not missed until a trial has learned from it.

    Args:
        digest: of the model's files; another model never takes its place.
        cache: folder on the node's own disk; None reads the model where it is.

    Raises:
        ModelError: the copy is not what it is a copy of: the model's files were changed since the
            study began, or this disk does not keep what it is given.
    """
    if cache is None:
        return folder
    root, asked = Path(cache), time.time()
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    copy = root / digest[:32]
    compared = root / f".{copy.name}.compared"  # its time stamp: when the bytes were last looked at
    with (root / f".{copy.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the operating system lets go of a killed process's
        while_waiting = compared.is_file() and compared.stat().st_mtime >= asked
        if copy.is_dir() and not while_waiting and not _holds(copy, digest):
            shutil.rmtree(copy)
        if not copy.is_dir():
            _make(copy, folder)
            if not _holds(copy, digest):
                shutil.rmtree(copy)
                raise ModelError(
                    f"the copy of {folder} in {root} does not hold the model's bytes: either the "
                    "model was changed since the study began, then run the same command again, or "
                    "this node's disk is damaged, then set another model.cache"
                )
        compared.touch()
    return copy


def _holds(copy: Path, digest: str) -> bool:
    return bool(model_files(copy)) and fingerprint(copy) == digest


def _make(copy: Path, folder: Path) -> None:
    # Of one name, so that what a killed process left takes no room for ever.
    made = copy.parent / f".{copy.name}.part"
    shutil.rmtree(made, ignore_errors=True)
    files = model_files(folder)
    try:
        with writing(copy, made, sum(path.stat().st_size for path in files)):
            for path in files:
                target = made / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            made.rename(copy)
    finally:
        shutil.rmtree(made, ignore_errors=True)
