"""Models in object storage: s3://bucket/folder or gs://bucket/folder.

Who may read them, and where the storage is, its own variables say (AWS_PROFILE, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, ...) and the machine's role; an address never holds a key.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pyarrow.fs as pafs

from orchestrator.artifacts import MANIFEST, key_digest
from orchestrator.errors import ModelError
from orchestrator.models.folder import MODEL_FILES, check_folder

ADDRESS = re.compile(r"(s3|gs)://[\w.-]+(/[\w.=-]+)+/?")


def is_bucket(name: str) -> bool:
    """Whether a model's name is an address in object storage."""
    return name.startswith(("s3://", "gs://"))


def save_bucket_model(name: str, folder: Path, scratch: Path) -> str:
    """Copy a model from a bucket to `folder`; returns a digest of what the bucket said of it.

    Raises:
        ModelError: as `check_bucket_access`, or the model is not safe to load.
    """
    filesystem, root, files = _files(name)
    for file in files:
        target = folder / PurePosixPath(file.path).relative_to(root)
        target.parent.mkdir(exist_ok=True)
        pafs.copy_files(
            file.path, str(target),
            source_filesystem=filesystem, destination_filesystem=pafs.LocalFileSystem(),
        )  # fmt: skip
    check_folder(folder, f"the model in {name}")
    return key_digest([[file.path, file.size, file.mtime_ns] for file in files])


def check_bucket_access(name: str) -> None:
    """Refuse a model that this user cannot read, or that is not there.

    Raises:
        ModelError: no such storage, no right to it, or no model.
    """
    _files(name)


def _files(name: str) -> tuple[pafs.FileSystem, str, list[pafs.FileInfo]]:
    """The storage, the folder in it, and the model's files there."""
    try:
        filesystem, root = pafs.FileSystem.from_uri(name.rstrip("/"))
        listed = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except OSError as error:
        raise ModelError(f"{name} cannot be read ({str(error).splitlines()[0][:300]})") from None
    patterns = [*MODEL_FILES, *(f"[0-9]_*/{pattern}" for pattern in MODEL_FILES)]
    found = [
        file
        for file in listed
        if file.type == pafs.FileType.File
        and PurePosixPath(file.path).name != MANIFEST
        and any(_matches(PurePosixPath(file.path).relative_to(root), p) for p in patterns)
    ]
    if not found:
        raise ModelError(
            f"{name} holds no model: give the folder with its config.json and *.safetensors"
        )
    return filesystem, root, sorted(found, key=lambda file: str(file.path))


def _matches(path: PurePosixPath, pattern: str) -> bool:
    return len(path.parts) == pattern.count("/") + 1 and path.match(pattern)
