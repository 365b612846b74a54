"""A disk that takes no more, told in one sentence: whoever wrote, and whatever was raised of it.

What this project writes, it writes within `writing`; what others read appears whole or not at all
(`artifacts.replacing`, `artifacts.scratch_beside`, `artifacts.append`).
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DiskError, UserError

WHY = {
    errno.ENOSPC: "no space is left on its disk",
    errno.EDQUOT: "the quota on its disk is used up",
    errno.EROFS: "its disk can only be read",
    errno.EIO: "its disk does not answer as it should",
}
FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = {os.strerror(number): number for number in WHY}  # as libraries that lose the number say it
TOLD = re.compile(rf"{DiskError.__module__}\.{DiskError.__name__}: (.+)")  # in the pages of Ray
ASKED_BYTES = 2**16  # a disk that does not take so many is full
UNITS = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")]


@contextmanager
def writing(path: Path, partial: Path | None = None, needs: int | None = None) -> Iterator[None]:
    """Turn what is raised where a disk is full, or fails, into a `DiskError` that names the path.

    Args:
        path: what is written, as the user knows it; where the error names another file, that one is
            told instead.
        partial: under what name it is written before it is whole; counted as free, as it will be
            removed. None: many things are written below `path`, or by other processes.
        needs: bytes; None: they are not known.

    Raises:
        DiskError: naming path, need and room. Any other error is left as it is.
    """
    try:
        yield
    except Exception as error:
        told = disk_error(error, path, partial, needs)
        if told is None or told is error:
            raise
        raise told from error


def disk_error(
    error: BaseException,
    path: Path | None = None,
    partial: Path | None = None,
    needs: int | None = None,
) -> DiskError | None:
    """What to tell of an error if a disk is behind it; the arguments are those of `writing`.

    Libraries lose the number of the operating system's error, some its words, too: then the disk of
    the path, if there is one, is asked whether it takes anything.
    """
    if isinstance(error, UserError):  # it was told by who knew better
        return error if isinstance(error, DiskError) else None
    for each in _chain(error):
        if isinstance(each, DiskError):
            return each
        if said := disk_error_in(str(each)):
            return said
        number = _number(each)
        # Of two that a copy, a link or a rename names, the second is the one that is written.
        named = getattr(each, "filename2", None) or getattr(each, "filename", None)
        # A terminal that was closed answers so, too.
        if number is None or (number == errno.EIO and not (named or partial)):
            continue
        if isinstance(named, str) and not (partial and Path(named).is_relative_to(partial)):
            path = Path(named)
        elif path is not None and named is None and (other := _refusing_beside(path)):
            return DiskError(_sentence(other, number, None, None))
        return DiskError(_sentence(path, number, partial, needs))
    refused = None if path is None else _refused(folder_there(path))
    return None if refused is None else DiskError(_sentence(path, refused, partial, needs))


def disk_error_in(text: str) -> DiskError | None:
    """The `DiskError` that another process raised, out of what Ray says of it."""
    told = TOLD.search(text)
    return DiskError(told[1]) if told else None


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write at a path, which need not be there yet."""
    status = os.statvfs(folder_there(path))
    return status.f_bavail * status.f_frsize


def passing_folder() -> Path:
    """Where the system keeps passing files; unlike `tempfile.gettempdir` also where it is full."""
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def folder_there(path: Path) -> Path:
    """The folder at a path, or else the nearest one above it."""
    return next(each for each in (path, *path.absolute().parents) if each.is_dir())


def in_units(count: float) -> str:
    """Bytes in the unit that one says them in."""
    for size, unit in UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,.0f} bytes"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it was raised from or over."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _number(error: BaseException) -> int | None:
    number = getattr(error, "errno", None)
    if number in WHY:
        return int(number)
    text = str(error)
    return next((number for words, number in WORDS.items() if words in text), None)


def _sentence(path: Path | None, number: int, partial: Path | None, needs: int | None) -> str:
    mend = "Make room there, or name another place" if number in FULL else "See to that disk"
    said = f"{path or 'a file'} cannot be written: {WHY[number]}"
    room = _room(path, number, partial, needs)
    return f"{said}{room}. {mend}, and run the same command again: what was finished is kept"


def _room(path: Path | None, number: int, partial: Path | None, needs: int | None) -> str:
    """What is needed and what there is, as far as that is known."""
    if path is None or number != errno.ENOSPC:
        return f" ({in_units(needs)} are needed)" if needs and number in FULL else ""
    status = os.statvfs(folder_there(path))
    if status.f_files and not status.f_favail:
        return " for one more file, whatever its size"
    free = status.f_bavail * status.f_frsize + _size(partial)
    if needs is None:
        return f": it needs more than the {in_units(free)} that are free"
    return f": it needs {in_units(needs)}, and {in_units(free)} are free"


def _size(partial: Path | None) -> int:
    """Bytes that a file, or a folder, takes on the disk."""
    if partial is None:
        return 0
    found = [partial, *partial.rglob("*")]
    return 512 * sum(path.stat().st_blocks for path in found if path.is_file())


def _refusing_beside(path: Path) -> Path | None:
    """The folder of Ray's or of the system's passing files, to which libraries write beside a path,
    where that one takes nothing and the disk of the path does."""
    if _refused(folder_there(path)) is not None:
        return None
    places = [Path(os.environ.get("RAY_TMPDIR") or passing_folder()), passing_folder()]
    return next((place for place in places if _refused(folder_there(place)) is not None), None)


def _refused(folder: Path) -> int | None:
    """Why a disk takes nothing now; None where it does, or for another reason."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            written = file.write(bytes(ASKED_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno if error.errno in WHY else None
    return errno.ENOSPC if written < ASKED_BYTES else None
