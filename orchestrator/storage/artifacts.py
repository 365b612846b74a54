"""Folders named by what determines them, complete or absent.

An artifact is built in a temporary folder beside its final place. `manifest.json` (every file
with its size and SHA-256) is written last and synced, then the folder is renamed. A folder
without a manifest, or with a file that differs from it, is no artifact: it is removed and built
again. The bytes are trusted, not the clock: nothing here looks at modification times.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.storage.disk import writing

MANIFEST = "manifest.json"
# Scratch that nothing was put into for so long is left over. Where the file system's locks hold on
# each machine alone, the lock of another one's build is not seen.
LEFT_SECONDS = 86_400
Files = dict[str, dict[str, Any]]  # name in a folder -> its size in bytes and its SHA-256


@dataclass(frozen=True)
class Artifact:
    """An artifact that is finished, as the store has it.

    Attributes:
        path: its folder.
        digest: identity of what determines it; downstream artifacts build on it.
        info: what its builder wanted to be remembered (counts, names).
        reused: it was there already.
    """

    path: Path
    digest: str
    info: Mapping[str, Any]
    reused: bool


def key_digest(key: Any) -> str:
    """SHA-256 of a value as canonical JSON.

    Raises:
        ValueError: for NaN or infinity; TypeError for what JSON does not know.
    """
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build(
    store: Path, kind: str, key: Any, make: Callable[[Path], Mapping[str, Any] | None]
) -> Artifact:
    """The artifact of this kind and key, built unless a sound one is in the store.

    Args:
        store: folder of all artifacts.
        kind: stage that makes it, the folder's parent.
        key: JSON value of all that determines the content, the stage's version among it.
        make: writes the files into the folder it is given; returns what to remember.
    """
    digest = key_digest(key)
    path = store / kind / digest[:16]
    there = find(store, kind, key)
    if there and sound(path):
        return there
    with scratch_beside(path) as temporary:
        info = make(temporary)
        commit(temporary, path, {"kind": kind, "digest": digest, "key": key, "info": info or {}})
    made = find(store, kind, key)
    if made is None or not sound(path):
        raise RuntimeError(f"{path} was damaged while it was written: run the same command again")
    return replace(made, reused=False)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """A folder to build `path` in, on the same file system; what builds that were killed left of
    such folders is removed.

    A build holds a lock of the operating system on its folder, which ends with its process.

    Raises:
        DiskError: the disk takes no more, whatever was raised of it in the block.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}-*"):
            _remove_if_left(left)
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    lock = os.open(made, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with writing(path, made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _remove_if_left(scratch: Path) -> None:
    """Remove an old scratch file or folder; of a folder, one that no process holds."""
    try:
        new = time.time() - scratch.stat().st_mtime < LEFT_SECONDS
        lock = os.open(scratch, os.O_RDONLY)
    except OSError:  # its process has just ended
        return
    try:
        if not new:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
    except OSError:  # held, or a file system without locks: nobody knows
        return
    finally:
        os.close(lock)


def find(store: Path, kind: str, key: Any) -> Artifact | None:
    """The artifact of this kind and key, if the store has one; its bytes are not looked at."""
    digest = key_digest(key)
    path = store / kind / digest[:16]
    manifest = read_manifest(path)
    if manifest is None or manifest.get("digest") != digest:
        return None
    return Artifact(path, digest, manifest["info"], reused=True)


def sealed(folder: Path) -> Files:
    """Bring the files of a folder to the disk, and list them for a manifest."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    listed = {
        str(file.relative_to(folder)): {"size": file.stat().st_size, "sha256": file_digest(file)}
        for file in files
    }
    for file in files:
        _sync(file)
    return listed


def commit(
    temporary: Path, path: Path, manifest: Mapping[str, Any], files: Files | None = None
) -> None:
    """Turn a finished temporary folder into the artifact at `path`, all or nothing.

    Args:
        files: as `sealed` listed them, by whoever wrote them; None: they are sealed here.
    """
    listed = sealed(temporary) if files is None else files
    write_json(temporary / MANIFEST, {**manifest, "files": listed})
    if path.exists():
        # Either damaged, or finished by another process in the meantime.
        if sound(path):
            return
        shutil.rmtree(path)
    try:
        temporary.rename(path)
    except OSError:
        if not sound(path):
            raise
    _sync(path.parent)


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where there is none that can be read."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "files" in manifest else None


def sound(path: Path) -> bool:
    """Does the folder hold exactly the bytes that its manifest lists?"""
    manifest = read_manifest(path)

    def same(listed: tuple[str, Mapping[str, Any]]) -> bool:
        file, entry = path / listed[0], listed[1]
        there = file.is_file() and file.stat().st_size == entry["size"]
        return there and file_digest(file) == entry["sha256"]

    if manifest is None:
        return False
    # Hashes are computed without Python's lock: several files at a time.
    with ThreadPoolExecutor() as pool:
        return all(pool.map(same, manifest["files"].items()))


def write_json(path: Path, value: Any) -> None:
    """Write JSON, its keys sorted, all or nothing.

    Raises:
        ValueError: for NaN or infinity, which JSON does not know.
    """
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    content = text.encode()
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file likewise."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file likewise."""
    with replacing(path, source.stat().st_size) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def replacing(path: Path, needs: int | None = None) -> Iterator[Path]:
    """A file to write beside `path`, that takes its place when the block ends without an error.
    What writers that were killed left of such files is removed.

    Args:
        needs: bytes of it; None: they are not known.

    Raises:
        DiskError: the disk takes no more, whatever was raised of it in the block.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.suffix[1:].isdigit() and left.is_file():  # else it is an editor's
            _remove_if_left(left)
    try:
        with writing(path, temporary, needs):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        with suppress(OSError):  # a disk that can only be read has none
            temporary.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Add text to the end of a file, which is made where it is missing: all of it, or nothing.

    Raises:
        DiskError: the disk takes no more.
    """
    rest = memoryview(text.encode())
    with writing(path, path, len(rest)), path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            file.truncate(end)
            raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
