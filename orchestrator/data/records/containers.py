"""Files cut into blocks of records: JSON Lines, arrays and objects here, Parquet and Arrow in
`tables`. Memory is a block and a record.

Who cuts only finds where records begin and end; they are parsed where a block is called. A damaged
record is the RecordError it is, so that the next one can still be read. What hides the records
behind it (a broken archive, an array that never ends) is a DataError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from orchestrator.config.sources import FileSource
from orchestrator.data.records import brackets, tables
from orchestrator.data.records.files import File, files
from orchestrator.data.records.opened import TEXT, form, opened
from orchestrator.data.records.record import (
    RECORD_BYTES,
    Block,
    Fault,
    Place,
    Record,
    RecordError,
    too_long,
)
from orchestrator.errors import DataError

BLOCK_BYTES = 2**20  # of text: a process takes some tens of milliseconds for it
TURN_KEYS = {"role", "from", "content", "value"}  # of a message
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")
Split = Callable[[IO[bytes], Any], Iterator[tuple[int, bytes | None]]]


class Item(NamedTuple):
    """A record of a text, unparsed.

    Attributes:
        number: of its line, or of the record in its file, from 1.
        start: the byte at which it begins; None of a line.
        text: None where it is too long.
    """

    number: int
    start: int | None
    text: bytes | None


def blocks(source: FileSource) -> Iterator[Block]:
    """Yields the blocks of all files of a source."""
    for file in files(source.path):
        yield from cut(file)


def cut(file: File) -> Iterator[Block]:
    """Yields the blocks of a file, which is what its first bytes say, whatever its name.

    Raises:
        DataError: a file that holds no records, or that cannot be read on.
    """
    if form(file.path) != TEXT:
        return tables.blocks(file)
    with opened(file.path) as stream:
        start = stream.read(brackets.CHUNK_BYTES)
    split = layout(start)
    if split is None:
        raise DataError(
            f"{file.path} holds no JSON object, no Parquet and no Arrow table: it begins with "
            f"{start[:40].decode(errors='replace')!a}. {_advice(start)}"
        )
    if split == "lines" and _has_commas(start):
        raise DataError(
            f"{file.path} has a comma behind each line, and is neither JSON Lines nor an array: "
            f"type sed 's/,$//' {file.path} > NEW.jsonl"
        )
    return array(file) if split == "array" else _unwrapped(file, SPLIT[split](file))


def _advice(start: bytes) -> str:
    """Says what to do with a text that is no JSON."""
    line = start.partition(b"\n")[0].decode(errors="replace").strip()
    if line.isprintable() and ("," in line or "\t" in line):
        return (
            "A table of comma-separated values is put alone in a folder, named train.csv, and read "
            "by {reader: hf, name: FOLDER}"
        )
    return "Give a file of JSON Lines, JSON, Parquet or Arrow"


def _has_commas(start: bytes) -> bool:
    """Says whether the first line is an object and a comma, and the next one begins another."""
    line, _, rest = start.removeprefix(BOM).lstrip().partition(b"\n")
    line = line.rstrip()
    commas = line.endswith(b",") and isinstance(parse(line[:-1]), dict)
    return commas and rest.lstrip().startswith(b"{")


def _unwrapped(file: File, cut: Iterator[Block]) -> Iterator[Block]:
    """Yields the blocks of a file, unless its only record is an object around all the others."""
    first, second = next(cut, None), next(cut, None)
    if first is None:
        return
    yield first if second else partial(_not_wrapping, file.path, first)
    if second:
        yield second
        yield from cut


def _not_wrapping(path: Path, block: Block) -> Iterator[Record]:
    """Yields the records of the only block of a file.

    Raises:
        DataError: it holds one, which is an object around all the others; naming what it is.
    """
    raw = block()
    first, second = next(raw, None), next(raw, None)
    if first and not second and isinstance(first[1], dict) and (what := _wrapping(first[1])):
        raise DataError(
            f"{path} holds one object, {what}: write the records themselves, an object a line"
        )
    yield from filter(None, (first, second))
    yield from raw


def _wrapping(one: dict[str, Any]) -> str | None:
    """Says how an object holds records, under a key or as columns; None if it is a record."""
    values = list(one.values())
    if not values or not all(isinstance(value, list | dict) and value for value in values):
        return None
    lists = [value for value in values if isinstance(value, list)]
    if any(isinstance(each[0], dict) and each[0].keys() & TURN_KEYS for each in lists):
        return None  # a conversation
    under = [key for key, value in one.items() if isinstance(value, list) and _objects_in(value)]
    if under:
        return f"in which the records are a list under {', '.join(under)}"
    sizes = {len(value) for value in values}
    if len(values) > 1 and len(sizes) == 1 and len({type(value) for value in values}) == 1:
        return f"in which each column is one value ({', '.join(one)}), as pandas writes a table"
    return None


def _objects_in(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def layout(start: bytes) -> str | None:
    """Says how the JSON of a text is laid out: `array`, `objects` or `lines`; None for no JSON.

    Args:
        start: the first bytes of the text, `brackets.CHUNK_BYTES` of them or all.
    """
    text = start.removeprefix(BOM).lstrip()
    line, _, rest = text.partition(b"\n")
    if text.startswith(b"["):
        # Lines of lists are none of ours, but each of them is a record to refuse or to skip.
        return "lines" if rest.strip() and isinstance(parse(line), list) else "array"
    if not text.startswith(b"{"):
        shown = any(each.lstrip().startswith(b"{") for each in text.splitlines())
        return "lines" if shown or not text else None
    if isinstance(parse(line), dict):
        return "lines"
    return "objects" if line.strip() == b"{" or _goes_on(text, line) else "lines"


def _goes_on(text: bytes, line: bytes) -> bool:
    """Says whether the first object is sound and ends on a later line, or another follows it."""
    first = next(iter(_cut(text)), b"")
    if not isinstance(parse(first), dict):
        return False
    return len(first) > len(line) or line[len(first) :].lstrip().startswith(b"{")


def _cut(text: bytes) -> Iterator[bytes]:
    """Yields the text up to the end of its first object, of its second, and so on."""
    ends = brackets.Brackets(brackets.OBJECTS).cuts(text)
    return (text[: end + 1] for end in ends)


def lines(file: File) -> Iterator[Block]:
    """Yields the blocks of JSON Lines, an object a line."""
    return _cut_text(file, _lines(file))


def array(file: File) -> Iterator[Block]:
    """Yields the blocks of a JSON array of objects."""
    return _cut_text(file, _items(file, brackets.items))


def objects(file: File) -> Iterator[Block]:
    """Yields the blocks of objects that stand one after another, each on one line or several."""
    return _cut_text(file, _items(file, brackets.objects))


SPLIT = {"lines": lines, "objects": objects}


def _lines(file: File) -> Iterator[Item]:
    number = 0
    with opened(file.path) as stream:
        while line := stream.readline(RECORD_BYTES + 1):
            number += 1
            if len(line) > RECORD_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(brackets.CHUNK_BYTES)
                yield Item(number, None, None)
            elif not line.isspace():
                yield Item(number, None, line)


def _items(file: File, split: Split) -> Iterator[Item]:
    with opened(file.path) as stream:
        for number, (start, text) in enumerate(split(stream, file.path), start=1):
            yield Item(number, start, text)


def _cut_text(file: File, items: Iterator[Item]) -> Iterator[Block]:
    block = partial(partial, _parsed, str(file.path), file.stem)
    return gathered(items, block, BLOCK_BYTES, lambda item: len(item.text or b""))


def gathered(
    items: Iterator[T],
    block: Callable[[list[T]], Block],
    size: int,
    size_of: Callable[[T], int] = lambda _: 1,
) -> Iterator[Block]:
    """Yields blocks of items; where they cannot be read on, what was read, and then the fault.

    Args:
        items: whose iterator may raise DataError.
        block: makes one of items.
        size: from which a block is full.
        size_of: of an item.
    """
    held: list[T] = []
    filled = 0
    try:
        for item in items:
            held.append(item)
            filled += size_of(item)
            if filled >= size:
                yield block(held)
                held, filled = [], 0
    except DataError as error:
        yield block(held)
        yield Fault(str(error))
    else:
        if held:
            yield block(held)


def _parsed(path: str, stem: str, items: Iterable[Item]) -> Iterator[Record]:
    for number, start, text in items:
        where = f"{path}:{number}"
        if start is not None:
            where = f"{path} record {number} at byte {start:,}"
        yield Place(where, stem, number), too_long() if text is None else _object(text)


def parse(raw: bytes, errors: str = "strict") -> Any:
    """Returns the value of a JSON text in UTF-8, or the RecordError that says why it has none."""
    try:
        return json.loads(raw.removeprefix(BOM).decode("utf-8", errors))
    except UnicodeDecodeError as error:
        return RecordError(
            "invalid UTF-8",
            f"byte {error.start + 1} of the record; a file that is Latin-1 throughout is written "
            "anew by iconv -f latin1 -t utf-8 FILE",
        )
    except json.JSONDecodeError as error:
        return RecordError("not JSON", f"{error.msg}, character {error.pos + 1} of the record")
    except RecursionError:
        return RecordError("nested too deeply")
    except ValueError:  # of int(): what Python refuses for its quadratic cost
        return RecordError("a number has too many digits")


def _object(raw: bytes) -> Any:
    value = parse(raw)
    if isinstance(value, dict | RecordError):
        return value
    return RecordError("not an object", f"a {type(value).__name__} instead of {{...}}")
