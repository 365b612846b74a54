"""What a reader is, and what holds for all of them.

A reader is a module: its section of the study file, `blocks(source)` that cuts the source into
stretches of raw records with their places, `instance(record, source, place)` that makes one of
them an Instance or raises a RecordError, and `content(source)` that says what lies behind the
options. The table of readers is `orchestrator.config.sources.READERS`. What becomes of a bad
record, which instances the options keep, and that ids are unique is decided for all readers alike:
in `data.checking` what a block shows alone, in whatever process, and here what hangs on the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config.sources import Source, SourceOptions, find_reader, reader_version
from orchestrator.data import limits
from orchestrator.data.checking import Check, Checked, refusal
from orchestrator.data.ids import SeenIds
from orchestrator.data.instance import Instance
from orchestrator.data.leakage import TestItems
from orchestrator.data.records.fields import joined_columns
from orchestrator.data.records.record import Block, Fault, Place, RecordError
from orchestrator.data.table import word_counts
from orchestrator.errors import DataError

TWICE = "id comes twice"
Item = TypeVar("Item")
Result = TypeVar("Result")


class InOrder(Protocol):
    """Calls a function with each item, here or elsewhere, several at once or not: `map`."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]: ...


class Reader(Protocol):
    """What the module of a reader defines; `source` is its section of the study file."""

    SECTION: type[SourceOptions]

    def blocks(self, source: Any) -> Iterator[Block]:
        """Cuts the source into blocks of records, damaged ones as RecordError in their place."""

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

    def add(self, table: pa.Table) -> None:
        """Count what instances say of themselves."""
        for name in ("notes", "unread", "metadata"):
            getattr(self, name).update(word_counts(table[name]))

    def told(self) -> dict[str, dict[str, int]]:
        """Returns what a dataset remembers of them."""
        return {name: dict(counter) for name, counter in vars(self).items()}

    def settle(self) -> None:
        """Count a column that carries meaning in one record as such in all of them."""
        for name in self.unread.keys() & self.metadata.keys():
            self.unread[name] += self.metadata.pop(name)


def together(counts: Iterable[Counts]) -> Counts:
    """Adds up what was counted of several sources."""
    whole = Counts()
    for each in counts:
        for name, counter in vars(each).items():
            getattr(whole, name).update(counter)
    whole.settle()
    return whole


def read(
    source: Source, counts: Counts, tests: TestItems | None = None, in_order: InOrder = map
) -> Iterator[pa.Table]:
    """Yields the instances of a source within its options, in the source's order, as tables.

    Memory is some blocks, 16 bytes an id, and with a `seed` the sample.

    Args:
        source: a section of the study file.
        counts: filled while the iterator is consumed.
        tests: of which leaks are looked for, in a column `leaks`; None: of none.
        in_order: calls the checks of blocks.

    Raises:
        DataError: the source cannot be read, or holds a bad record under `bad_records: error`;
            the first fault of the source.
    """
    checked = in_order(Check(source, tests), _told(source))
    for table in limits.within(source, _sound(source, checked, counts.dropped), counts.dropped):
        counts.add(table)
        yield table
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


def _told(source: Source) -> Iterator[Block]:
    """Yields the blocks of a source; where it cannot be read on, a block that says so, in its turn:
    what is wrong with those before it is told first."""
    reader: Reader = find_reader(source.reader)
    try:
        yield from reader.blocks(source)
    except DataError as error:
        yield Fault(str(error))


def _sound(source: Source, checked: Iterator[Checked], dropped: Counter[str]) -> Iterator[pa.Table]:
    """Yields the sound instances of checked blocks; what was wrong goes by `bad_records`."""
    seen = SeenIds()
    unseen = joined_columns(source)
    for block in checked:
        table, again = block.table, seen.add(block.digests)
        if again.any():
            twice = table.filter(pa.array(again))
            if source.bad_records == "error":
                first = twice.slice(0, 1).to_pylist()[0]
                error = RecordError(TWICE, ascii(first["id"])[:80])
                raise refusal(first["place"], error)
            dropped[TWICE] += len(twice)
            table = table.filter(pa.array(~again))
        dropped.update(block.dropped)
        if block.fault:
            raise DataError(block.fault)
        unseen -= block.columns
        if table["dropped"].null_count < len(table):
            dropped.update(word_counts(table["dropped"].drop_null()))
            table = table.filter(pc.is_null(table["dropped"]))
        yield table
    if unseen and len(seen):
        raise DataError(
            f"{describe(source)}: no record has the column {', '.join(sorted(unseen))}, which is "
            "to be joined: name the columns as they are under fields"
        )
