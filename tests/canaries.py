"""Secrets that nobody has, planted where a study may find them, and a search for them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

MARK = "CANARY"
# In the environment of whoever starts a study, and of the cluster that runs it.
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "CANARY-of-aws-0123456789",
    "AWS_SESSION_TOKEN": "CANARY-of-a-session-0123456789",
    "HF_TOKEN": "hf_CANARYofTheHub0123456789",
    "MLFLOW_TRACKING_PASSWORD": "CANARY-of-mlflow-0123456789",
}
ADDRESS = "https://user:CANARY-of-an-address@hub.example"


def plant(folder: Path) -> None:
    """Write a secret as users keep their keys beside a study."""
    (folder / ".env").write_text("WANDB_API_KEY=CANARY-of-a-file-0123456789\n")


def leaks(*folders: Path, mark: str = MARK) -> list[str]:
    """The files of folders, and the entries of archives in them, that hold a secret."""
    return [name for folder in folders for name in _leaks(folder, mark.encode())]


def _leaks(folder: Path, mark: bytes) -> Iterator[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, f"{folder} holds nothing to search"
    for path in files:
        if mark in path.read_bytes():
            yield str(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if mark in archive.read(name):
                        yield f"{path}: {name}"
