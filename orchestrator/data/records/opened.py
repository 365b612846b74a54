"""What a file is by its first bytes, whatever its name; and its text, unpacked and in UTF-8.

Not for what needs no look: a file that this project wrote is what its name says.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from orchestrator.errors import DataError
from orchestrator.storage import lfs

HEAD_BYTES = 512
PARQUET, ARROW_FILE, ARROW_STREAM, TEXT = "Parquet", "Arrow file", "Arrow stream", "text"
TABLES = {b"PAR1": PARQUET, b"ARROW1": ARROW_FILE, b"\xff\xff\xff\xff": ARROW_STREAM}
# First bytes -> what such a file is, and what its user can do about it.
STRANGERS = {
    lfs.SIGNATURE: lfs.ADVICE,
    b"PK\x03\x04": "is a ZIP archive: unpack it",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive: unpack it",
    b"Rar!": "is a RAR archive: unpack it",
    b"\x04\x22\x4d\x18": "is packed with lz4: unpack it, or pack it with zstd",
    b"ORC": "is an ORC file: convert it to Parquet",
    b"Obj\x01": "is an Avro file: convert it to Parquet",
    b"FEA1": "is a Feather file of version 1: convert it to Parquet",
    b"SQLite format 3": "is an SQLite database: export its table to JSON Lines",
    b"\x89HDF": "is an HDF5 file: convert it to Parquet",
    b"\x93NUMPY": "is an array of NumPy: convert it to Parquet",
    **{bytes([0x80, version]): "is a pickle, which can run code: convert it to Parquet"
       for version in range(2, 6)},
    b"%PDF": "is a PDF: give the data itself",
    b"<": "is a web page or XML, perhaps a server's answer in place of the file: fetch it again",
}  # fmt: skip
TAR_MARK = slice(257, 262)  # where a tar archive says that it is one


def _zstd(path: Path) -> IO[bytes]:
    stream: Any = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    return io.BufferedReader(stream)


def _plain(path: Path) -> IO[bytes]:
    return path.open("rb")


Opener = Callable[[Path], Any]
PACKED: dict[bytes, tuple[str, Opener]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    # Frames that are skipped: pzstd begins a file with one.
    **{bytes([number, 0x2A, 0x4D, 0x18]): ("zstd", _zstd) for number in range(0x50, 0x60)},
}


def form(path: Path) -> str:
    """Returns `Parquet`, `Arrow file`, `Arrow stream` or `text`, by the first bytes of a file.

    Raises:
        DataError: it cannot be read, or is known as something else.
    """
    with _as_data_errors(path):
        return _form(_head(path, _plain), path) or TEXT


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens as bytes of UTF-8 a text that may be packed by gzip, bzip2, xz or zstd, or in UTF-16.

    Raises:
        DataError: it cannot be read to its end, or holds something else than text.
    """
    with _as_data_errors(path):
        packing, opener = _packing(_head(path, _plain)) or ("", _plain)
        head = _head(path, opener)
        inner = _form(head, path)
        if packing and (inner or _packing(head)):
            what = inner or f"something packed with {(_packing(head) or ('',))[0]}"
            raise DataError(f"{path} holds {what}, packed with {packing}: unpack it once")
    position = 0
    with _as_data_errors(path, lambda: position), opener(path) as file:
        encoding = json.detect_encoding(head)
        text = file if encoding.startswith("utf-8") else _Utf8Stream(file, encoding)
        try:
            yield cast(IO[bytes], text if text is file else io.BufferedReader(text))
        finally:
            position = file.tell() if file.seekable() else 0


class _Utf8Stream(io.RawIOBase):
    """Reads a text in another encoding as the bytes of UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        self._text = io.TextIOWrapper(file, encoding, newline="")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._text.read(len(buffer)).encode()
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _form(head: bytes, path: Path) -> str | None:
    """Says which table a file is; None for what may be text."""
    for signature, advice in STRANGERS.items():
        if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(signature):
            raise DataError(f"{path} {advice}")
    if head[TAR_MARK] == b"ustar":
        raise DataError(f"{path} is a tar archive: unpack it")
    return next((form for first, form in TABLES.items() if head.startswith(first)), None)


def _packing(head: bytes) -> tuple[str, Opener] | None:
    return next((packing for first, packing in PACKED.items() if head.startswith(first)), None)


def _head(path: Path, opener: Opener) -> bytes:
    with opener(path) as file:
        return cast(bytes, file.read(HEAD_BYTES))


@contextmanager
def _as_data_errors(path: Path, position: Callable[[], int] = lambda: 0) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read after byte {position():,}: {reason}") from None
