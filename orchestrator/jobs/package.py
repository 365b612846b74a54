"""The working folder as a zip file for a job.

Ray would pack the folder itself, and would leave out what git ignores: also a study or an overlay.
It would also send passwords and keys that lie there, and what links lead to outside: a job's files
are read by everybody who may use the cluster.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from ray._private.runtime_env.packaging import get_excludes_from_ignore_files

from orchestrator.errors import JobError

ASKED = 50 * 2**20  # bytes before compression, above which the user is asked
LARGEST = 200 * 2**20  # bytes before compression; Ray takes half a gigabyte, each node keeps a copy
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal folders are equal packages
# Folder in the package, above the whole path of each study from outside the working folder: two
# overlays may have one name.
OUTSIDE = "submitted"
# Files and folders whose names say that they hold passwords, tokens or keys.
SECRET_NAMES = (
    ".env", ".env.*", "*.env", ".netrc", "_netrc", ".git-credentials", ".pgpass", ".pypirc",
    ".npmrc", ".aws", ".azure", ".gcloud", "gcloud", ".ssh", ".gnupg", ".kube", ".docker",
    ".huggingface", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", "credentials", "credentials.json", "auth_token",
    "*service_account*.json", "*service-account*.json",
)  # fmt: skip
EXAMPLES = ("*.example", "*.sample", "*.template", "*.pub")
PRIVATE_KEY = re.compile(rb"\s*-----BEGIN [A-Z ]*PRIVATE KEY")


@dataclass(frozen=True)
class Packed:
    """What a job is sent.

    Attributes:
        files: name in the package -> the file.
        left_out: why, and the names in the folder of what stays here for that reason.
    """

    files: dict[str, Path]
    left_out: dict[str, list[str]]

    @property
    def size(self) -> int:
        """Bytes before compression."""
        return sum(path.stat().st_size for path in self.files.values())

    def lines(self, folder: Path) -> list[str]:
        """What is sent of the folder, by its first level, and what is not."""
        tops = Counter(f"{top}/" if rest else top for top, _, rest in (
            name.partition("/") for name in self.files))  # fmt: skip
        parts = [f"{top} ({count:,})" if top.endswith("/") else top for top, count in tops.items()]
        size = f"{self.size / 2**20:,.1f} MB"
        sent = f"sends {len(self.files):,} files, {size}, of {folder}: {', '.join(sorted(parts))}"
        return [sent, *(f"left out, {why}: {', '.join(n)}" for why, n in self.left_out.items())]


def place_in_package(file: Path, folder: Path) -> str:
    """Path of a study or an overlay in the package of a working folder."""
    file, folder = file.resolve(), folder.resolve()
    inside = file.is_relative_to(folder)
    return str(file.relative_to(folder)) if inside else f"{OUTSIDE}{file}"


def select(folder: Path, wanted: Iterable[Path]) -> Packed:
    """Choose the files of a working folder that a job gets.

    In a git repository these are the files that git tracks, or would; elsewhere, or without git's
    program, all that are neither hidden nor named by a `.gitignore`. Of both, none that a
    `.rayignore` names; Ray reads either file, by git's rules. None whose name or content says that
    it is a secret, and none that a link leads to outside of the folder.

    Args:
        wanted: files that are packed whatever their names.

    Raises:
        JobError: the folder is too large.
    """
    files: dict[str, Path] = {}
    left_out: dict[str, list[str]] = {}
    for path in _files(folder):
        name = str(path.relative_to(folder))
        if why := _kept_here(path, folder):
            left_out.setdefault(why, []).append(name)
        else:
            files[name] = path
    files |= {place_in_package(file, folder): file for file in wanted}
    packed = Packed(files, {why: sorted(names) for why, names in left_out.items()})
    if packed.size > LARGEST:
        name, largest = max(files.items(), key=lambda item: item[1].stat().st_size)
        raise JobError(
            f"{folder} holds {packed.size / 2**20:,.0f} MB, {LARGEST // 2**20} are the most for a "
            f"job; {name} alone is {largest.stat().st_size / 2**20:,.0f} MB. Put data and results "
            "on storage that the cluster shares, or name them in .gitignore or .rayignore"
        )
    return packed


def _kept_here(path: Path, folder: Path) -> str:
    """Why a file is not for the cluster; "" of one that is."""
    if not path.resolve().is_relative_to(folder.resolve()):
        return "behind a link that leads outside"
    parts = path.relative_to(folder).parts
    named = any(fnmatch(part, name) for part in parts for name in SECRET_NAMES)
    if named and not any(fnmatch(path.name, name) for name in EXAMPLES):
        return "secret by its name"
    with path.open("rb") as file:
        return "a private key" if PRIVATE_KEY.match(file.read(64)) else ""


def pack(packed: Packed, package: Path) -> None:
    """Write the files as a zip file."""
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in sorted(packed.files.items()):
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
