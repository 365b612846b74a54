"""Folders in object storage: s3://bucket/folder or gs://bucket/folder.

Who may use them, and where the storage is, its own variables say (AWS_PROFILE, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, ...) and the machine's role; an address never holds a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = re.compile(r"(s3|gs)://[\w.-]+(/[\w.=-]+)+/?", re.ASCII)
GS_RETRY_SECONDS = 30  # of one request; its client's own limit is a quarter of an hour


@contextmanager
def _refusals() -> Iterator[None]:
    """Errors of Arrow's own, as for HTTP status 400, as the OSError that all others are."""
    # Imported here and below: the command line, which checks addresses, must start fast.
    from pyarrow import ArrowException

    try:
        yield
    except ArrowException as error:
        raise OSError(str(error)) from None


class BucketFolder:
    """A folder in object storage; names of files are relative to it.

    Every method raises OSError if the storage cannot be reached or refuses, FileNotFoundError if
    it says that there is no such file.

    Args:
        address: one that `ADDRESS` matches.
    """

    @_refusals()
    def __init__(self, address: str) -> None:
        from pyarrow import fs

        limit = f"?retry_limit_seconds={GS_RETRY_SECONDS}" if address.startswith("gs:") else ""
        self._storage, self._root = fs.FileSystem.from_uri(address.rstrip("/") + limit)
        self._here = fs.LocalFileSystem()

    @_refusals()
    def check(self) -> None:
        """Make sure that the folder can be listed; it may be empty."""
        from pyarrow import fs

        listed = self._storage.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        bucket = self._root.partition("/")[0]
        if not listed and self._storage.get_file_info(bucket).type == fs.FileType.NotFound:
            raise FileNotFoundError(f"there is no bucket {bucket}")

    @_refusals()
    def files(self) -> dict[str, tuple[int, int]]:
        """Every file at any depth, sorted: name -> size in bytes and time of change in ns."""
        from pyarrow import fs

        listed = self._storage.get_file_info(fs.FileSelector(self._root, recursive=True))
        return {
            file.path.removeprefix(f"{self._root}/"): (file.size, file.mtime_ns)
            for file in sorted(listed, key=lambda file: str(file.path))
            if file.type == fs.FileType.File
        }

    @_refusals()
    def read(self, name: str) -> bytes:
        """Returns the bytes of a small file."""
        with self._storage.open_input_stream(f"{self._root}/{name}") as stream:
            return bytes(stream.read())

    @_refusals()
    def write(self, name: str, content: bytes) -> None:
        """Write a small file, or replace it, all or nothing."""
        with self._storage.open_output_stream(f"{self._root}/{name}") as stream:
            stream.write(content)

    @_refusals()
    def download(self, name: str, target: Path) -> None:
        """Copy a file to a path, whose folder is made if it is missing."""
        from pyarrow import fs

        target.parent.mkdir(parents=True, exist_ok=True)
        fs.copy_files(
            f"{self._root}/{name}", str(target),
            source_filesystem=self._storage, destination_filesystem=self._here,
        )  # fmt: skip

    @_refusals()
    def upload(self, source: Path, name: str) -> None:
        """Copy a file to the folder; what has its name there is replaced when all has arrived."""
        from pyarrow import fs

        fs.copy_files(
            str(source), f"{self._root}/{name}",
            source_filesystem=self._here, destination_filesystem=self._storage,
        )  # fmt: skip


def reason(error: OSError) -> str:
    """Returns in one line what the storage said in an error."""
    return str(error).splitlines()[0][:300]
