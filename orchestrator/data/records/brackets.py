"""The items of a JSON array, or objects one after another, cut apart without parsing them.

What stands between two brackets costs that item alone: the next one is found whatever it holds.
Not for JSON Lines, where the line breaks cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from orchestrator.data.records.record import RECORD_BYTES
from orchestrator.errors import DataError

CHUNK_BYTES = 2**18
ARRAY, OBJECTS = 1, 0  # how many brackets are open between two items

# What can be passed over, whole strings with it: up to a bracket, and between items to a comma.
_STRING_END = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_INSIDE = re.compile(rb'(?:[^"\[\]{}]++|"' + _STRING_END + rb'")*+', re.DOTALL)
_BETWEEN = re.compile(rb'(?:[^"\[\]{},]++|"' + _STRING_END + rb'")*+', re.DOTALL)
_REST_OF_STRING = re.compile(_STRING_END, re.DOTALL)
_STEP = {b",": 0, b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def items(stream: IO[bytes], path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yields position and bytes of each item of a JSON array, unparsed; None if it is too long.

    Raises:
        DataError: the array does not end, or something stands behind its end.
    """
    brackets = Brackets()
    item: bytearray | None = bytearray()  # since `start`, the byte behind the last cut
    start = offset = 0
    while chunk := _chunk(stream):
        begin = 0
        for cut in brackets.cuts(chunk):
            item = _append(item, chunk[begin:cut])
            blank = 0 if item is None else len(item) - len(item.lstrip())
            # Nothing stands before the opening bracket, nor between a comma and the closing one.
            if start and (brackets.open or item is None or blank < len(item)):
                yield start + blank, None if item is None else bytes(item)
            item, begin = bytearray(), cut + 1
            start = offset + begin
        item = _append(item, chunk[begin:])
        offset += len(chunk)
        if not brackets.open and (item is None or item.strip()):
            raise DataError(f"{path}: the array ends at byte {start:,}, but not the file")
    if brackets.open:
        raise _unclosed(path, offset, start)


def objects(stream: IO[bytes], path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Yields position and bytes of objects that follow one another; None if one is too long.

    Raises:
        DataError: the last one does not end.
    """
    brackets = Brackets(OBJECTS)
    item: bytearray | None = bytearray()
    start = offset = 0
    while chunk := _chunk(stream):
        begin = 0
        for cut in brackets.cuts(chunk):
            item = _append(item, chunk[begin : cut + 1])
            blank = 0 if item is None else len(item) - len(item.lstrip())
            yield start + blank, None if item is None else bytes(item)
            item, begin = bytearray(), cut + 1
            start = offset + begin
        item = _append(item, chunk[begin:])
        offset += len(chunk)
    if item is None or item.strip():
        raise _unclosed(path, offset, start)


def _unclosed(path: Path, end: int, start: int) -> DataError:
    return DataError(
        f"{path}: the file ends at byte {end:,}, inside the record that starts at byte "
        f"{start:,}: a bracket or quote of it is not closed, or the file was cut"
    )


def _append(item: bytearray | None, piece: bytes) -> bytearray | None:
    """Returns the item with one more piece; None, which holds no memory, once it is too long."""
    if item is None or len(item) + len(piece) > RECORD_BYTES:
        return None
    item += piece
    return item


def _chunk(stream: IO[bytes]) -> bytes:
    """Reads the next bytes, never ending between a backslash and the character that it escapes."""
    chunk = stream.read(CHUNK_BYTES)
    while chunk.endswith(b"\\") and (more := stream.read(1)):
        chunk += more
    return chunk


class Brackets:
    """Finds the ends of items, chunk by chunk, without parsing them.

    Args:
        between: how many brackets are open between two items, `ARRAY` or `OBJECTS`.
    """

    def __init__(self, between: int = ARRAY) -> None:
        self._between = between
        self._depth = 0  # of open brackets
        self._quoted = False
        self._closed = False

    @property
    def open(self) -> bool:
        return self._depth > 0

    def cuts(self, chunk: bytes) -> Iterator[int]:
        """Yields where items end in a chunk: at the array's own brackets and the commas between
        its items, or at the bracket that closes an object."""
        at = 0
        if self._quoted:
            at = _end(_REST_OF_STRING, chunk, 0)
            self._quoted = at == len(chunk)
            at += 1
        while at < len(chunk) and not self._closed:
            split = self._between == ARRAY == self._depth
            at = _end(_BETWEEN if split else _INSIDE, chunk, at)
            sign = chunk[at : at + 1]
            if sign == b'"':  # of a string that ends in a later chunk
                self._quoted = True
                return
            if sign and self._ends_item(sign):
                yield at
            at += 1

    def _ends_item(self, sign: bytes) -> bool:
        before = self._depth
        self._depth = max(0, before + _STEP[sign])
        if self._between == OBJECTS:
            return _STEP[sign] < 0 and self._depth == 0
        self._closed = self._depth == 0
        return before <= 1 and self._depth <= 1


def _end(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    """Returns where the match ends, of a pattern that matches everywhere."""
    return cast(re.Match[bytes], pattern.match(chunk, at)).end()
