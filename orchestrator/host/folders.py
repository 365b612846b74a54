"""Whether folders of this machine can be written, told before anything is.

Nothing is left behind: what is tried is a file without a name.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import ResourceError, first_line

# What Ray puts below its folder, and the bytes that Linux allows for the path of a socket.
SOCKET = "session_2026-01-01_00-00-00_000000_{}/sockets/plasma_store"
SOCKET_BYTES = 107


def check_written(folder: Path, advice: str) -> None:
    """Refuse a folder that cannot be made or written.

    Args:
        advice: what to type instead.

    Raises:
        ResourceError: naming what stands in the way.
    """
    if faults := written_faults({folder: advice}):
        raise ResourceError("\n".join(faults))


def written_faults(folders: Mapping[Path, str]) -> list[str]:
    """A sentence for each folder that cannot be made or written; its advice ends it."""
    faults: dict[str, None] = {}
    for folder, advice in folders.items():
        there = next(path for path in [folder, *folder.parents] if os.path.lexists(path))
        if why := _refused(there):
            what = "be written" if there == folder else "be made"
            where = f"{there} " if there != folder else ""
            said = f"{folder} cannot {what} ({where}{why}): {advice}"
            if not any(str(there) in fault for fault in faults):  # once for all that is below it
                faults[said] = None
    return list(faults)


def ray_faults() -> list[str]:
    """What keeps Ray from its own folder, where it puts its logs and sockets."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    folder = Path(base, "ray")
    me = pwd.getpwuid(os.getuid()).pw_name if _has_name(os.getuid()) else str(os.getuid())
    advice = f"set RAY_TMPDIR to a short folder of your own, as in RAY_TMPDIR=/tmp/{me}"
    below = SOCKET.format(os.getpid())
    if (size := len(os.fsencode(folder / below))) > SOCKET_BYTES:
        most = SOCKET_BYTES - len(f"/ray/{below}")
        return [
            f"Ray cannot start with its folder in {base}: the paths of its sockets would have "
            f"{size} bytes, and {SOCKET_BYTES} are allowed. Of {most} bytes at most, {advice}"
        ]
    return written_faults({folder.absolute(): advice})


def _refused(there: Path) -> str | None:
    """Why nothing can be written at a path that exists; None where it can."""
    if not there.is_dir():
        return "is a file" if there.exists() else "is a link to nothing"
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except PermissionError:
        owner = there.stat().st_uid
        named = pwd.getpwuid(owner).pw_name if _has_name(owner) else str(owner)
        return f"belongs to {named}, and you may not write there"
    except OSError as error:
        return f"takes no file: {error.strerror or first_line(error)}"


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
