"""What a reader is, and what holds for all of them.

A reader is a module: its section of the study file, `records(source)` that streams places and raw
records, `instance(record, source, place)` that makes one of them an Instance or raises a
RecordError, and `content(source)` that says what lies behind the options. The table of readers is
`orchestrator.config.sources.READERS`. What becomes of a bad record, which instances the options
keep, and that ids are unique is decided here, for all readers alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.config.sources import Source, SourceOptions, find_reader, reader_version
from orchestrator.data import limits
from orchestrator.data.instance import Instance
from orchestrator.data.records.fields import joined_columns, named_columns
from orchestrator.data.records.record import (
    RECORD_BYTES,
    ExcludedRecord,
    Place,
    Record,
    RecordError,
    exclude_marked,
    too_long,
    with_unread,
)
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.errors import DataError


class Reader(Protocol):
    """What the module of a reader defines; `source` is its section of the study file."""

    SECTION: type[SourceOptions]

    def records(self, source: Any) -> Iterator[Record]:
        """Streams the records, damaged ones as RecordError in place of the record."""

    def instance(self, record: Any, source: Any, place: Place) -> Instance:
        """Raises RecordError for a record that holds none."""

    def content(self, source: Any) -> Any:
        """A JSON value that changes with the bytes behind the source, and not with their place."""


@dataclass
class Counts:
    """Numbers of records that were left out, or kept with a change, by reason.

    Attributes:
        unread: columns, and keys of messages as `messages.weight`, that carry meaning and that
            nothing read: in how many instances.
        metadata: the same of those that only describe a record.
    """

    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    metadata: Counter[str] = field(default_factory=Counter)

    def add(self, instance: Instance) -> None:
        """Count what an instance says of itself, each key once."""
        self.notes.update(instance.notes)
        self.unread.update(set(instance.unread))
        self.metadata.update(set(instance.metadata))

    def settle(self) -> None:
        """Count a column that carries meaning in one record as such in all of them."""
        for name in self.unread.keys() & self.metadata.keys():
            self.unread[name] += self.metadata.pop(name)


def read(source: Source, counts: Counts) -> Iterator[Instance]:
    """Yields the instances of a source within its options, in the source's order.

    Memory is one record, the ids, and with a `seed` the sample.

    Args:
        source: a section of the study file.
        counts: filled while the iterator is consumed.

    Raises:
        DataError: the source cannot be read, or holds a bad record under `bad_records: error`.
    """
    for instance in limits.within(source, _instances(source, counts.dropped), counts.dropped):
        counts.add(instance)
        yield instance
    counts.settle()


def fingerprint(source: Source) -> dict[str, Any]:
    """Returns what determines the instances of a source: its options, and the content behind them.

    Raises:
        DataError: there is no such source.
    """
    reader: Reader = find_reader(source.reader)
    options = source.model_dump(mode="json", exclude=set(source.PLACES))
    key = {**options, "content": reader.content(source)}
    version = reader_version(source.reader)  # code that is not of here changes without notice
    return key if version is None else {**key, "package": version}


def describe(source: Source) -> str:
    """Names the source in a few words, for messages."""
    for key in ("path", "name", "split"):
        if key in type(source).model_fields:
            return f"{source.reader} {getattr(source, key)}"
    return source.reader


def _instances(source: Source, dropped: Counter[str]) -> Iterator[Instance]:
    """Yields all instances of a source; what is wrong with one goes by `bad_records`."""
    reader: Reader = find_reader(source.reader)
    seen: set[str] = set()
    unseen = joined_columns(source)
    for place, raw in reader.records(source):
        try:
            if isinstance(raw, RecordError | ExcludedRecord):
                raise raw
            record = TrackedRecord(raw) if isinstance(raw, dict) else raw
            unseen -= raw.keys() if isinstance(raw, dict) else set()
            instance = _instance(reader, record, source, place)
            if sum(len(message["content"]) for message in instance.messages) > RECORD_BYTES:
                raise too_long()  # of a container that does not tell before decoding
            if instance.id in seen:
                raise RecordError("id comes twice", ascii(instance.id)[:80])
        except ExcludedRecord as left_out:
            dropped[left_out.reason] += 1
        except RecordError as error:
            if source.bad_records == "error":
                raise DataError(
                    f"{place}: {error}. Mend the record, or set bad_records: skip to leave such "
                    "records out and count them"
                ) from None
            dropped[error.reason] += 1
        else:
            seen.add(instance.id)
            yield instance
    if unseen and seen:
        raise DataError(
            f"{describe(source)}: no record has the column {', '.join(sorted(unseen))}, which is "
            "to be joined: name the columns as they are under fields"
        )


def _instance(reader: Reader, record: Any, source: Source, place: Place) -> Instance:
    """Makes the instance of a record, with the names of what the reader did not look at.

    Raises:
        RecordError: as the reader's `instance`.
        ExcludedRecord: the record is marked not to be trained on.
    """
    if not isinstance(record, TrackedRecord):
        return reader.instance(record, source, place)
    exclude_marked(record, named_columns(source))
    return with_unread(record, reader.instance(record, source, place))
