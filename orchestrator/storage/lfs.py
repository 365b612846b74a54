"""Git LFS pointers: what a clone without `git lfs` holds in place of a large file."""

from __future__ import annotations

from pathlib import Path

SIGNATURE = b"version https://git-lfs.github.com/spec/"
ADVICE = (
    "is a Git LFS pointer, three lines that stand for the file: type `git lfs pull` in its "
    "repository, or fetch the file itself"
)


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE
