"""Checkpoints: what a killed trial continues from, complete or absent.

All ranks write into one temporary folder on storage that they share, and each hashes and syncs what
it wrote. The first rank commits the folder: it looks for the files of all, lists them in a manifest
with their SHA-256, and renames it. A checkpoint is read only after its bytes are compared with the
manifest, and only from a folder of this user's that is not open to everybody: hashes find
corruption, and do not stop somebody who writes them too. Not for publishing a model: see
`export.py`.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from orchestrator.errors import DiskError, ResourceError, TrainingError
from orchestrator.storage.artifacts import Files, commit, read_manifest, sealed, sound
from orchestrator.storage.disk import writing
from orchestrator.storage.files import CHECKPOINTS_FOLDER
from orchestrator.training.history import History, read_history, write_history

ENGINE = "engine"  # DeepSpeed's files: weights and optimizer states, each rank its shard
# What one node wrote, another may not see for a minute (NFS, acdirmax).
SEEN_SECONDS, LOOK_SECONDS = 180.0, 0.5
OWN_MODE = 0o700  # as `tempfile` gives its folders


def save_checkpoint(
    trial_folder: Path, engine: Any, history: History, facts: dict[str, Any], *, keep: int
) -> None:
    """Save the state after a step; every rank calls.

    Args:
        trial_folder: on storage that all ranks share.
        history: of this rank.
        facts: `step`, `key` of the spec and `precision`: what must be the same to continue.
        keep: newest checkpoints that stay; older ones are removed after this one is committed.

    Raises:
        ResourceError: on the first rank, which does not see what another one wrote.
        DiskError: on a rank for whose part there is no room; the checkpoints before stay.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    path = _path(trial_folder, facts["step"])
    temporary = path.with_name(f".{path.name}")
    try:
        with writing(path, temporary):
            if rank == 0:
                for leftover in path.parent.glob(".step-*"):
                    shutil.rmtree(leftover)
                temporary.mkdir(parents=True, mode=OWN_MODE)
            dist.barrier()
            written: list[Files] = [{}] * ranks
            dist.all_gather_object(written, _write_part(temporary, rank, engine, history))
            if rank == 0:
                files = {name: entry for part in written for name, entry in part.items()}
                _wait_for(temporary, files)
                commit(temporary, path, {**facts, "ranks": ranks}, files)
    except DiskError:
        shutil.rmtree(temporary, ignore_errors=True)  # the room is given back, whoever meets it
        raise
    if rank == 0:
        for old in _newest_first(trial_folder)[keep:]:
            shutil.rmtree(old)


def _write_part(folder: Path, rank: int, engine: Any, history: History) -> Files:
    """Write what one rank saves, and list it; every rank calls.

    In a folder of its own at first: DeepSpeed does not say which files a rank has written, and what
    another node sees of a shared one is not always the newest.
    """
    own = folder / f"rank-{rank}"
    own.mkdir(parents=True)
    # Frozen weights are those of the pretrained model: a resumed trial has loaded them already.
    engine.save_checkpoint(str(own), tag=ENGINE, save_latest=False, exclude_frozen_parameters=True)
    torch.save(_random_state(), own / f"random-{rank}.pt")
    write_history(history, own, rank)
    files = sealed(own)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).rename(folder / name)
    shutil.rmtree(own)
    return files


def _wait_for(folder: Path, files: Files) -> None:
    """Wait until this node sees all files of a folder, in the sizes that they were written in."""
    deadline = time.monotonic() + SEEN_SECONDS
    while unseen := [name for name, entry in files.items() if not _seen(folder / name, entry)]:
        if time.monotonic() > deadline:
            raise ResourceError(
                f"a worker wrote {unseen[0]} into {folder}, and {SEEN_SECONDS:g} s later the first "
                "worker does not see it: give --output a folder that all nodes share"
            )
        time.sleep(LOOK_SECONDS)


def _seen(file: Path, entry: dict[str, Any]) -> bool:
    try:
        os.listdir(file.parent)  # a network file system looks again
        return file.stat().st_size == int(entry["size"])
    except OSError:
        return False


def find_checkpoint(
    trial_folder: Path, key: str, ranks: int, precision: str
) -> tuple[int | None, dict[int, str]]:
    """The step of the newest checkpoint that this spec can continue from; one rank calls.

    What cannot be continued from is removed, up to the first that can.

    Returns:
        (step, or None where there is none; what was wrong with each checkpoint removed, by its
        step).

    Raises:
        TrainingError: somebody else may have written one; none is removed then.
    """
    removed: dict[int, str] = {}
    for path in _newest_first(trial_folder):
        step = _step(path)
        _check_own(path)
        fault = _fault(path, key, ranks, precision)
        if fault is None:
            return step, removed
        removed[step] = fault
        shutil.rmtree(path)
    return None, removed


def load_checkpoint(trial_folder: Path, engine: Any, step: int) -> History:
    """Put the engine and the random state where they were after a step; every rank calls.

    Args:
        engine: fresh, with the pretrained weights.
        step: from `find_checkpoint`, which compared the bytes with the manifest.

    Returns:
        What this rank had gathered.
    """
    path, rank = _path(trial_folder, step), dist.get_rank()
    with _weights_only():
        engine.load_checkpoint(str(path), tag=ENGINE, load_module_strict=False)
    _restore_random_state(torch.load(path / f"random-{rank}.pt", weights_only=True))
    return read_history(path, rank)


def keep_checkpoints_of(trial_folder: Path, key: str) -> bool:
    """Remove the checkpoints that another spec left; True if one of this spec's is there."""
    kept = False
    for path in _newest_first(trial_folder):
        manifest = read_manifest(path)
        if manifest and manifest.get("key") == key:
            kept = True
        elif manifest:
            shutil.rmtree(path)
    return kept


def remove_checkpoints(trial_folder: Path) -> None:
    """Remove all checkpoints of a trial: a finished one needs none."""
    shutil.rmtree(trial_folder / CHECKPOINTS_FOLDER, ignore_errors=True)


def _path(trial_folder: Path, step: int) -> Path:
    return trial_folder / CHECKPOINTS_FOLDER / f"step-{step}"


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _newest_first(trial_folder: Path) -> list[Path]:
    return sorted((trial_folder / CHECKPOINTS_FOLDER).glob("step-*"), key=_step, reverse=True)


def _check_own(path: Path) -> None:
    """Refuse a folder that a stranger made or may write to.

    What is compared is a new folder beside it: a disk may show other owners, or know no modes.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as made:
        new, found = os.stat(made), path.stat()
    if found.st_uid != new.st_uid:
        why, mend = f"belongs to another user (number {found.st_uid})", f"chown -R {new.st_uid}"
    elif found.st_mode & ~new.st_mode & stat.S_IWOTH:
        why, mend = "can be written by anybody", "chmod -R o-w"
    else:
        return
    raise TrainingError(
        f"{path} {why}, so that its states may be anybody's: if you trust them, run {mend} "
        f"{path}; else remove that folder: the trial then goes on from the one before, or anew"
    )


def _fault(path: Path, key: str, ranks: int, precision: str) -> str | None:
    if not sound(path):
        return "it is damaged: a file differs from its SHA-256 in the manifest, or is missing"
    manifest = read_manifest(path) or {}
    if manifest.get("key") != key:
        return "it is of another configuration"
    if manifest.get("ranks") != ranks:
        return f"it was saved by {manifest.get('ranks')} workers, there are {ranks} now"
    if manifest.get("precision") != precision:
        return f"it was saved in {manifest.get('precision')}, this machine computes in {precision}"
    return None


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let DeepSpeed's loader, which would unpickle any class, read tensors and four classes."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        known = [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
        with torch.serialization.safe_globals(known):
            yield
    finally:
        del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]


def _random_state() -> dict[str, Any]:
    legacy = np.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    return {
        "python": random.getstate(),
        "numpy": {**legacy, "state": {**legacy["state"], "key": legacy["state"]["key"].tolist()}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def _restore_random_state(state: dict[str, Any]) -> None:
    numbers = state["numpy"]["state"]
    key = np.asarray(numbers["key"], np.uint32)
    random.setstate(state["python"])
    np.random.set_state({**state["numpy"], "state": {**numbers, "key": key}})
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
