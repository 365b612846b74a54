"""Models in object storage: s3://bucket/folder or gs://bucket/folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from orchestrator.errors import ModelError
from orchestrator.models.folder import check_folder, is_model_file
from orchestrator.storage.artifacts import key_digest
from orchestrator.storage.bucket import BucketFolder, reason


def is_bucket(name: str) -> bool:
    """Whether a model's name is an address in object storage."""
    return name.startswith(("s3://", "gs://"))


def save_bucket_model(name: str, folder: Path, scratch: Path) -> str:
    """Copy a model from a bucket to `folder`; returns a digest of what the bucket said of it.

    Raises:
        ModelError: as `check_bucket_access`, or the model is not safe to load.
    """
    bucket, files = _find(name)
    for file in files:
        bucket.download(file, folder / file)
    check_folder(folder, f"the model in {name}")
    return key_digest(files)


def check_bucket_access(name: str) -> None:
    """Refuse a model that this user cannot read, or that is not there.

    Raises:
        ModelError: no such storage, no right to it, or no model.
    """
    _find(name)


def _find(name: str) -> tuple[BucketFolder, dict[str, tuple[int, int]]]:
    """The folder in the bucket, and the model's files there as `BucketFolder.files` has them."""
    try:
        bucket = BucketFolder(name)
        listed = bucket.files()
    except OSError as error:
        raise ModelError(f"{name} cannot be read ({reason(error)})") from None
    files = {file: facts for file, facts in listed.items() if is_model_file(PurePosixPath(file))}
    if not files:
        raise ModelError(
            f"{name} holds no model: give the folder with its config.json and *.safetensors"
        )
    return bucket, files
