"""One record of a source: where it stands, what can be wrong with it, and the checks of its text.

Reasons are short phrases without data in them, because they are counted; the detail beside them
is for the message of an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orchestrator.data.instance import Instance
from orchestrator.data.records.tracked import (
    TrackedRecord,
    carries_meaning,
    repeats,
    untrained_mark,
)
from orchestrator.errors import DataError

RECORD_BYTES = 16 * 2**20  # a longer record is a bad one, and is never decoded


class RecordError(Exception):
    """A record that cannot be read: `bad_records` says what becomes of it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason} ({detail})" if detail else reason)


class ExcludedRecord(Exception):
    """A record that an option or a mark of its own leaves out: counted, and never an error."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Place(NamedTuple):
    """The place of a record in its source.

    Attributes:
        text: for messages, such as `data/train.jsonl:12`.
        name: its file relative to the path of the source, without suffix, such as `ag_news/train`.
        number: of the record in its file, from 1.
    """

    text: str
    name: str
    number: int

    def __str__(self) -> str:
        return self.text

    @property
    def id(self) -> str:
        """Is the id of a record that has none of its own."""
        return f"{self.name}-{self.number}"


# What a source holds: a RecordError or ExcludedRecord in place of a record that is none.
Record = tuple[Place, Any]
# A stretch of a source, to be called where it is read; it goes to other processes and nodes, so
# that it names no file.
Block = Callable[[], Iterator[Record]]


@dataclass(frozen=True)
class Fault:
    """A block in place of what cannot be read: what is wrong with those before it is told first."""

    text: str

    def __call__(self) -> Iterator[Record]:
        raise DataError(self.text)


def too_long() -> RecordError:
    """Makes the error of a record of more than `RECORD_BYTES`."""
    return RecordError("longer than 16 MiB")


def text(value: Any, what: str) -> str:
    """Returns the value, if it is text that can be trained on.

    Args:
        value: a value of a record; None where there is none.
        what: how the reason calls it: prompt, answer, id or task.

    Raises:
        RecordError: missing, not a string, blank, or with a NUL or a lone surrogate.
    """
    if value is None:
        raise RecordError(f"{what} is missing")
    if not isinstance(value, str):
        raise RecordError(f"{what} is not text", shown(value))
    if not value.strip():
        raise RecordError(f"{what} is empty")
    if "\0" in value:
        raise RecordError(f"{what} holds a NUL", f"character {value.index(chr(0)) + 1}")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        detail = f"U+{ord(value[error.start]):04X}, character {error.start + 1}"
        raise RecordError(f"{what} holds a lone surrogate", detail) from None
    return value


def sound_texts(values: Iterable[Any]) -> Iterator[str]:
    """Yields those of some values that are text that can be trained on, stripped."""
    for value in values:
        with suppress(RecordError):
            yield text(value, "answer").strip()


def label(value: Any, what: str) -> str:
    """Returns an id or a task, which is text or a whole number, as text.

    Raises:
        RecordError: as `text`.
    """
    return str(value) if type(value) is int else text(value, what)


def own_id(record: dict[str, Any], key: str, place: Place) -> str:
    """Returns the record's id, or its place where the record has none."""
    value = record.get(key)
    return place.id if value is None else label(value, "id")


def exclude_marked(record: TrackedRecord, named: Collection[str] = ()) -> None:
    """Leave out a record that is marked not to be trained on.

    Args:
        record: with its marks.
        named: columns that are no marks, because the study file says what they are.

    Raises:
        ExcludedRecord: it is marked.
    """
    if mark := untrained_mark(record, named):
        raise ExcludedRecord(f"marked {mark}")


def with_unread(record: TrackedRecord, instance: Instance) -> Instance:
    """Adds to the instance of a record the names of what its reader did not look at."""
    left = {
        name: carries_meaning(name, value)
        for name, value in record.unread().items()
        if not repeats(value, instance.messages)
    }
    if not left:
        return instance
    return replace(
        instance,
        unread=_with(instance.unread, (name for name, means in left.items() if means)),
        metadata=_with(instance.metadata, (name for name, means in left.items() if not means)),
    )


def _with(names: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*names, *more)))  # each once


def shown(value: Any) -> str:
    """Writes a value in at most 40 characters that every terminal can print."""
    printed = ascii(value[:40] if isinstance(value, str | list) else value)
    return printed if len(printed) <= 40 else printed[:37] + "..."
