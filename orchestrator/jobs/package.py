"""The working folder as a zip file for a job.

Ray would pack the folder itself, and would leave out what git ignores: also a study or an overlay.
"""

from __future__ import annotations

import logging
import os
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

from orchestrator.errors import JobError

LARGEST = 200 * 2**20  # bytes before compression; Ray takes half a gigabyte, each node keeps a copy
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal folders are equal packages
# Folder in the package, above the whole path of each study from outside the working folder: two
# overlays may have one name.
OUTSIDE = "submitted"


def place_in_package(file: Path, folder: Path) -> str:
    """Path of a study or an overlay in the package of a working folder."""
    file, folder = file.resolve(), folder.resolve()
    inside = file.is_relative_to(folder)
    return str(file.relative_to(folder)) if inside else f"{OUTSIDE}{file}"


def pack(folder: Path, wanted: Iterable[Path], package: Path) -> None:
    """Write the files of a working folder as a zip file.

    In a git repository these are the files that git tracks, or would; elsewhere, or without git's
    program, all that are neither hidden nor named by a `.gitignore`. Of both, none that a
    `.rayignore` names. Ray reads either file, by git's rules.

    Args:
        wanted: files that are packed whether or not they are ignored.
        package: the file to write.

    Raises:
        JobError: the folder is too large.
    """
    files = {str(path.relative_to(folder)): path for path in _files(folder)}
    files |= {place_in_package(file, folder): file for file in wanted}
    size = sum(path.stat().st_size for path in files.values())
    if size > LARGEST:
        name, largest = max(files.items(), key=lambda item: item[1].stat().st_size)
        raise JobError(
            f"{folder} holds {size / 2**20:,.0f} MB, {LARGEST // 2**20} are the most for a job; "
            f"{name} alone is {largest.stat().st_size / 2**20:,.0f} MB. Put data and results on "
            "storage that the cluster shares, or name them in .gitignore or .rayignore"
        )
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in sorted(files.items()):
            archive.writestr(_entry(name, path), path.read_bytes())


def _entry(name: str, path: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = (path.stat().st_mode & 0o777) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _files(folder: Path) -> Iterator[Path]:
    tracked = _tracked(folder)
    candidates = folder.rglob("*") if tracked is None else tracked
    quiet = logging.getLogger(__name__)

    @cache
    def patterns(above: Path) -> list[Callable[[Path], bool]]:
        # Files that git tracks although it ignores them are sent.
        return get_excludes_from_ignore_files(
            above, include_gitignore=tracked is None, logger=quiet
        )

    @cache
    def ignored(path: Path) -> bool:
        if path == folder:
            return False
        above = [parent for parent in path.parents if parent.is_relative_to(folder)]
        return (
            ignored(path.parent)
            or (tracked is None and _hidden(path))
            or any(named(path) for parent in above for named in patterns(parent))
        )

    return (path for path in candidates if path.is_file() and not ignored(path))


def _tracked(folder: Path) -> list[Path] | None:
    """Files that git tracks, or would; None outside a repository, or without git's program."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    if listed.returncode:
        return None
    return [folder / os.fsdecode(name) for name in set(listed.stdout.split(b"\0")) if name]


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "__pycache__"
