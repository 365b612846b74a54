"""Disks that are full or can no longer be written, at any write that a test asks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = os.sysconf("SC_PAGE_SIZE")
AMPLE = 2**28
CHANGES = {"open", "os.mkdir", "os.rename", "os.link", "os.symlink"}
_refusals: list[Refusal] = []


class SmallDisk:
    """A disk of its own, on which there is as much room as a test leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, pages: int) -> None:
        """Leave room for so many pages of the memory more than is taken now."""
        self._size(self.taken() + pages)

    def grow(self) -> None:
        self._size(AMPLE // PAGE)

    def taken(self) -> int:
        """Pages."""
        status = os.statvfs(self.path)
        return (status.f_blocks - status.f_bfree) * status.f_bsize // PAGE

    def _size(self, pages: int) -> None:
        option = f"remount,size={pages * PAGE}"
        subprocess.run(["mount", "-o", option, str(self.path)], check=True)


@contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """A tmpfs at a path; where this user may not mount one, the test is skipped."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={AMPLE}", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk of a certain size needs the right to mount one")
    try:
        (path / "ballast").write_bytes(b"1")  # a size of nothing would be no limit
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def only_read(path: Path) -> Iterator[None]:
    """What is at a path can only be read meanwhile, whoever reads it; needs root."""
    subprocess.run(["mount", "--bind", "-o", "ro", str(path), str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Refusal:
    """Of what this process opens to write, makes, links or renames below a folder, the n-th and
    all later ones fail with a number of the operating system, or at the n-th it is killed. What C
    libraries open passes by.

    Attributes:
        seen: how many there were, those that failed among them.
    """

    def __init__(self, folder: Path, number: int | None, after: int | None) -> None:
        self._folder, self._number, self._after = folder, number, after
        self.seen = 0

    def look(self, event: str, arguments: tuple[object, ...]) -> None:
        path = arguments[-1] if event == "os.symlink" else arguments[0]
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        if not isinstance(path, str | Path) or not Path(path).is_relative_to(self._folder):
            return
        self.seen += 1
        if self._after is not None and self.seen > self._after:
            if self._number is None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(self._number, os.strerror(self._number), str(path))


@contextmanager
def refusing(folder: Path, number: int | None, after: int | None) -> Iterator[Refusal]:
    """Fail what is written below a folder for the time of the block.

    Args:
        number: of the error, as `errno.ENOSPC`; None: the process is killed instead.
        after: so many writes that succeed; None: all do, and are counted.
    """
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_look)  # for good: a process cannot be rid of one
    refusal = Refusal(folder, number, after)
    _refusals.append(refusal)
    try:
        yield refusal
    finally:
        _refusals.remove(refusal)


_HOOKED: list[bool] = []


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if _refusals and event in CHANGES:
        for refusal in _refusals:
            refusal.look(event, arguments)
