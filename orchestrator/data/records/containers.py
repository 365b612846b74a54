"""JSON Lines, arrays and objects, Parquet and Arrow, record by record, in memory a record bounds.

A damaged record is yielded as the RecordError it is, so that the next one can still be read.
What hides the records behind it (a broken archive, an array that never ends) is a DataError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.sources import FileSource
from orchestrator.data.records import brackets
from orchestrator.data.records.files import File, files
from orchestrator.data.records.opened import ARROW_FILE, PARQUET, TEXT, form, opened
from orchestrator.data.records.record import RECORD_BYTES, Place, Record, RecordError, too_long
from orchestrator.errors import DataError

BATCH_ROWS = 256
TURN_KEYS = {"role", "from", "content", "value"}  # of a message
BOM = b"\xef\xbb\xbf"

Items = Callable[[IO[bytes], Any], Iterator[tuple[int, bytes | None]]]


def records(source: FileSource) -> Iterator[Record]:
    """Yields the records of all files of a source."""
    for file in files(source.path):
        yield from read(file)


def read(file: File) -> Iterator[Record]:
    """Yields the records of a file, which is what its first bytes say, whatever its name.

    Raises:
        DataError: a file that holds no records, or that cannot be read on.
    """
    if form(file.path) != TEXT:
        return rows(file)
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


def _unwrapped(file: File, raw: Iterator[Record]) -> Iterator[Record]:
    """Yields the records of a file, unless its only one is an object around all the others.

    Raises:
        DataError: naming what is around them.
    """
    first = next(raw, None)
    if first is None:
        return
    second = next(raw, None)
    if second is None and isinstance(first[1], dict) and (what := _wrapping(first[1])):
        raise DataError(
            f"{file.path} holds one object, {what}: write the records themselves, an object a line"
        )
    yield first
    if second is not None:
        yield second
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


def lines(file: File) -> Iterator[Record]:
    """Yields the records of JSON Lines, an object a line."""
    number = 0
    with opened(file.path) as stream:
        while line := stream.readline(RECORD_BYTES + 1):
            number += 1
            place = Place(f"{file.path}:{number}", file.stem, number)
            if len(line) > RECORD_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(brackets.CHUNK_BYTES)
                yield place, too_long()
            elif not line.isspace():
                yield place, _object(line)


def array(file: File) -> Iterator[Record]:
    """Yields the records of a JSON array of objects."""
    return _items(file, brackets.items)


def objects(file: File) -> Iterator[Record]:
    """Yields objects that stand one after another, each on one line or on several."""
    return _items(file, brackets.objects)


SPLIT = {"lines": lines, "objects": objects}


def _items(file: File, split: Items) -> Iterator[Record]:
    with opened(file.path) as stream:
        for number, (start, item) in enumerate(split(stream, file.path), start=1):
            text = f"{file.path} record {number} at byte {start:,}"
            yield Place(text, file.stem, number), too_long() if item is None else _object(item)


def rows(file: File) -> Iterator[Record]:
    """Yields the rows of a table of Parquet or Arrow as objects."""
    number, kind = 0, form(file.path)
    try:
        for batch in _batches(file, kind):
            for row in _rows(batch):
                number += 1
                yield Place(f"{file.path} row {number}", file.stem, number), row
    except (OSError, pa.ArrowException) as error:
        what = f"{kind} file" if kind == PARQUET else kind
        raise DataError(f"{file.path}: no sound {what} after row {number:,} ({error})") from None


def _batches(file: File, kind: str) -> Iterator[pa.RecordBatch]:
    """Yields at most `BATCH_ROWS` rows of a table at a time."""
    if kind == PARQUET:
        # Unbuffered, Arrow would hold whole column chunks.
        with pq.ParquetFile(file.path, buffer_size=2**20, pre_buffer=False) as parquet:
            yield from parquet.iter_batches(batch_size=BATCH_ROWS)
        return
    with pa.memory_map(str(file.path)) as stream:
        if kind == ARROW_FILE:
            table = pa.ipc.open_file(stream)
            batches = (table.get_batch(number) for number in range(table.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(stream))
        for batch in batches:
            batch.validate()
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)


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


def _rows(batch: pa.RecordBatch) -> Iterator[Any]:
    """Yields the rows of a batch, those that are too long or not UTF-8 as RecordError."""
    if batch.nbytes <= RECORD_BYTES:
        try:
            yield from batch.to_pylist()
            return
        except UnicodeDecodeError:
            pass  # one by one, to find the row
    for row in (batch.slice(i, 1) for i in range(batch.num_rows)):
        try:
            yield too_long() if row.nbytes > RECORD_BYTES else row.to_pylist()[0]
        except UnicodeDecodeError:
            yield RecordError("invalid UTF-8")
