"""The checks of a block of records, which need no other block: they run in any process."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa

from orchestrator.config.sources import Source, find_reader
from orchestrator.data import limits
from orchestrator.data.digests import Digests, text_digests
from orchestrator.data.instance import FURTHER_ANSWERS, Instance, opening_text
from orchestrator.data.leakage import TestItems
from orchestrator.data.records.fields import joined_columns, named_columns
from orchestrator.data.records.record import (
    RECORD_BYTES,
    Block,
    ExcludedRecord,
    Place,
    RecordError,
    exclude_marked,
    too_long,
    with_unread,
)
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.data.table import COLUMNS, WORDS, table_of
from orchestrator.errors import DataError

CHECKED = pa.schema(
    [*COLUMNS.items(), ("place", pa.string()), ("dropped", pa.string()), ("leaks", WORDS)]
)


class Checked(NamedTuple):
    """What the checks found in a block.

    Attributes:
        table: its instances, with their `place`, why an option leaves them out (`dropped`, else
            null), and of which kinds of `leaks` they are.
        digests: (n,) of their ids.
        dropped: records that hold no instance, by reason.
        columns: which of the joined columns its records have.
        fault: what ends the reading behind these instances; "" for nothing.
    """

    table: pa.Table
    digests: Digests
    dropped: Counter[str]
    columns: set[str]
    fault: str


class _Row(NamedTuple):
    instance: Instance
    place: str
    dropped: str | None
    leaks: list[str]


@dataclass(frozen=True)
class Check:
    """The checks of the blocks of a source.

    Attributes:
        source: its section of the study file.
        tests: of which leaks are looked for; None: of none.
    """

    source: Source
    tests: TestItems | None

    def __call__(self, block: Block) -> Checked:
        """Check a block; what is wrong with a record goes by `bad_records`."""
        reader, named = find_reader(self.source.reader), named_columns(self.source)
        joined, columns = joined_columns(self.source), set[str]()
        rows: list[_Row] = []
        dropped: Counter[str] = Counter()
        fault = ""
        try:
            for place, raw in block():
                if joined and isinstance(raw, dict):
                    columns |= joined & raw.keys()
                try:
                    rows.append(self._row(reader, raw, place, named))
                except ExcludedRecord as left_out:
                    dropped[left_out.reason] += 1
                except RecordError as error:
                    if self.source.bad_records == "error":
                        raise refusal(place, error) from None
                    dropped[error.reason] += 1
        except DataError as error:
            fault = str(error)
        return _checked(rows, dropped, columns, fault)

    def _row(self, reader: Any, raw: Any, place: Place, named: set[str]) -> _Row:
        """Make the instance of a record, and see what the options keep of it.

        Raises:
            RecordError: as the reader's `instance`.
            ExcludedRecord: the record is marked not to be trained on.
        """
        if isinstance(raw, RecordError | ExcludedRecord):
            raise raw
        if isinstance(raw, dict):
            record = TrackedRecord(raw)
            exclude_marked(record, named)
            instance = with_unread(record, reader.instance(record, self.source, place))
        else:
            instance = reader.instance(raw, self.source, place)
        if sum(len(message["content"]) for message in instance.messages) > RECORD_BYTES:
            raise too_long()  # of a container that does not tell before decoding
        if instance.references:
            instance = replace(instance, notes=(*instance.notes, FURTHER_ANSWERS))
        kept = limits.fitted(self.source, instance)
        if isinstance(kept, str):
            return _Row(replace(instance, messages=()), place.text, kept, [])
        prompt = opening_text(kept.messages)
        leaks = self.tests.leaks(kept.task, prompt) if self.tests else []
        return _Row(kept, place.text, None, leaks)


def refusal(place: Place | str, error: RecordError) -> DataError:
    """Makes the error of a bad record that is not to be skipped."""
    return DataError(
        f"{place}: {error}. Mend the record, or set bad_records: skip to leave such records out "
        "and count them"
    )


def _checked(rows: list[_Row], dropped: Counter[str], columns: set[str], fault: str) -> Checked:
    table = table_of(
        [row.instance for row in rows],
        place=pa.array([row.place for row in rows], pa.string()),
        dropped=pa.array([row.dropped for row in rows], pa.string()),
        leaks=pa.array([row.leaks for row in rows], WORDS),
    )
    return Checked(table, text_digests(row.instance.id for row in rows), dropped, columns, fault)
