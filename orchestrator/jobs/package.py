"""The working folder as a zip file for a job.

Ray would pack the folder itself, and would leave out what git ignores: also a study or an overlay.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import JobError

LARGEST = 200 * 2**20  # bytes before compression; Ray takes half a gigabyte, each node keeps a copy
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal folders are equal packages
OUTSIDE = "submitted"  # folder in the package for studies that lie outside the working folder


def place_in_package(file: Path, folder: Path) -> str:
    """Path of a study or an overlay in the package of a working folder."""
    file, folder = file.resolve(), folder.resolve()
    inside = file.is_relative_to(folder)
    return str(file.relative_to(folder)) if inside else f"{OUTSIDE}/{file.name}"


def pack(folder: Path, wanted: Iterable[Path], package: Path) -> None:
    """Write the files of a working folder as a zip file.

    In a git repository these are the files that git tracks, or would; elsewhere all that are not
    hidden. Of both, none that `.rayignore` names.

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


def _files(folder: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder, capture_output=True, check=False,
    ) if _in_repository(folder) else None  # fmt: skip
    if listed is not None and listed.returncode == 0:
        names = {os.fsdecode(name) for name in listed.stdout.split(b"\0") if name}
        found = [folder / name for name in names]
    else:
        found = [path for path in folder.rglob("*") if not _hidden(path.relative_to(folder))]
    ignored = folder / ".rayignore"
    patterns = ignored.read_text(encoding="utf-8").split() if ignored.is_file() else []
    return [path for path in found if path.is_file() and not _matches(path, folder, patterns)]


def _in_repository(folder: Path) -> bool:
    return any((parent / ".git").exists() for parent in (folder, *folder.parents))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _matches(path: Path, folder: Path, patterns: list[str]) -> bool:
    relative = path.relative_to(folder)
    parents = [relative, *relative.parents]
    return any(part.match(pattern.rstrip("/")) for pattern in patterns for part in parents)
