"""Ids that a file names, in its order: one a line, or records of JSON, Parquet or Arrow with an
`id`, as `orchestrator arrange` and other tools write them.

Which instances they stand for is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.data.records import brackets
from orchestrator.data.records.containers import BOM, cut, layout
from orchestrator.data.records.files import HERE, File
from orchestrator.data.records.opened import TEXT, form, opened
from orchestrator.data.records.record import RecordError, label
from orchestrator.errors import DataError

NAMED = 5  # places that a message names of each fault
CHUNK_IDS = 65_536  # that are Python objects at once

Numbered = tuple[int, str | None]


class ListedIds(NamedTuple):
    """What a file names.

    Attributes:
        ids: (n,) strings in the order of the file; null where a line or record holds none.
        places: (n,) int64, the number of its line or record, from 1.
        unit: `line`, `record` or `row`: what the places count.
    """

    ids: pa.ChunkedArray
    places: NDArray[np.int64]
    unit: str


def read_ids(path: str) -> ListedIds:
    """Reads the ids of a file, which is what its first bytes say, whatever its name.

    Text that does not begin as JSON holds an id a line; blank lines are passed over.

    Raises:
        DataError: there is no such file, it cannot be read to its end, or names nothing.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{path} is no file: give one of ids, {HERE}")
    unit, numbered = _numbered(file)
    chunks, places = [], []
    while chunk := list(islice(numbered, CHUNK_IDS)):
        chunks.append(pa.array([name for _, name in chunk], pa.string()))
        places.append(np.array([number for number, _ in chunk], np.int64))
    if not chunks:
        raise DataError(f"{path} names no id: write one a line, or records with an id")
    return ListedIds(pa.chunked_array(chunks), np.concatenate(places), unit)


def wrong_ids(listed: ListedIds) -> Iterator[str]:
    """What is wrong with ids by themselves: places without one, and ids that come again."""
    ids = listed.ids.combine_chunks()
    missing = pc.is_null(ids).to_numpy(zero_copy_only=False)
    if missing.any():
        yield f"{missing.sum():,} without an id: {named(listed, np.flatnonzero(missing))}"
    first = pc.index_in(ids, value_set=ids).to_numpy()
    again = np.flatnonzero((first != np.arange(len(ids))) & ~missing)
    if len(again):
        before = {
            place: f"first in {listed.unit} {listed.places[first[place]]}"
            for place in again[:NAMED].tolist()
        }
        yield f"{len(again):,} named before: {named(listed, again, before)}"


def named(
    listed: ListedIds, places: NDArray[np.int64], notes: Mapping[int, str] | None = None
) -> str:
    """The first of some places, each with its id.

    Args:
        places: (n,) positions in `listed`.
        notes: position -> what is said of it.
    """
    few, words = places[:NAMED], []
    for place, name in zip(few.tolist(), listed.ids.take(pa.array(few)).to_pylist(), strict=True):
        note = f" ({notes[place]})" if notes else ""
        shown = "" if name is None else f" {ascii(name)[:80]}"
        words.append(f"{listed.unit} {listed.places[place]}{shown}{note}")
    return first_of(words, len(places))


def first_of(words: Iterable[str], count: int) -> str:
    """The first NAMED words of so many, on a line; dots stand for the others."""
    return ", ".join(islice(words, NAMED)) + (", ..." if count > NAMED else "")


def _numbered(file: Path) -> tuple[str, Iterator[Numbered]]:
    """What the numbers of a file count, and its ids, each with its number."""
    if form(file) != TEXT:
        return "row", _of_records(file)
    with opened(file) as stream:
        start = stream.read(brackets.CHUNK_BYTES)
    if not start.removeprefix(BOM).lstrip().startswith((b"{", b"[")):
        return "line", _of_lines(file)
    return "line" if layout(start) == "lines" else "record", _of_records(file)


def _of_records(file: Path) -> Iterator[Numbered]:
    blocks = cut(File(file, file.name))
    records = chain.from_iterable(block() for block in blocks)
    return ((place.number, _id_of(record)) for place, record in records)


def _id_of(record: Any) -> str | None:
    try:
        return label(record.get("id"), "id") if isinstance(record, dict) else None
    except RecordError:
        return None


def _of_lines(file: Path) -> Iterator[Numbered]:
    with opened(file) as stream:
        for number, line in enumerate(_without_mark(stream), start=1):
            if not line.isspace():
                yield number, _decoded(line)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file without the mark that some programs put at its beginning."""
    remaining = iter(lines)
    for first in islice(remaining, 1):
        yield first.removeprefix(BOM)
    yield from remaining


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return None
