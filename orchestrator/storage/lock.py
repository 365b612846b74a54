"""One process at a time writes into a folder: that of a study, or what its studies share.

An advisory lock of the operating system on a file in that folder. It ends with the process that
holds it, so whatever is killed leaves none. Between machines it holds on NFS, unless mounted with
`nolock` or `local_lock`, and on Lustre mounted with `flock`; with Lustre's `localflock` it holds
within one machine; where the file system has no locks at all, a warning says so.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from orchestrator.errors import UserError
from orchestrator.storage.disk import disk_error, writing

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        words: its number, its machine and since when, as errors name it.
        since: the same time in seconds of `time.time`.
    """

    words: str
    since: float


def holder(study_folder: Path) -> Holder | None:
    """The process that works in a study's folder; None: none does. Nothing is written."""
    try:
        with (study_folder / LOCK_FILE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                words = file.read()
            else:
                return None
        return Holder(words, datetime.fromisoformat(words.rpartition(" ")[2]).timestamp())
    except (OSError, ValueError):  # no file, no locks, or just being written
        return None


@contextmanager
def locked(study_folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a study's folder, which is made if it is not there.

    Args:
        wait: for the process that holds it, where that needs an instant.

    Raises:
        UserError: another process holds it; names that process, its machine and since when. Or the
            lock is a link, through which another file would be overwritten.
    """
    with writing(study_folder):
        study_folder.mkdir(parents=True, exist_ok=True)
    with _opened(study_folder / LOCK_FILE) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"{study_folder} is in use by {file.read() or 'another process'}: wait for its "
                "end or end it, or choose another study or --output"
            ) from error
        except OSError as error:
            logging.warning("%s cannot be locked: %s", study_folder, error)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        words = f"process {os.getpid()} on {socket.gethostname()} since {now}"
        with writing(study_folder / LOCK_FILE, study_folder / LOCK_FILE):
            file.truncate(0)
            os.write(file.fileno(), words.encode())
        yield


def _opened(path: Path) -> IO[str]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if told := disk_error(error, path):
            raise told from None
        if error.errno != errno.ELOOP:
            raise
        raise UserError(f"{path} is a link to another file: remove the link") from None
    return os.fdopen(descriptor, "a+", encoding="utf-8")
