"""Which reader reads what lies at a place, and how much is there: for the first draft of a study.

A reader is taken if its own code reads most of the first records. The columns of records that no
format is known for are told by their names. Nothing here is used by a study that runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from orchestrator.config.sources import Source, SourceOptions, find_reader
from orchestrator.data import readers
from orchestrator.data.checking import CHECKED
from orchestrator.data.instance import UNLABELLED
from orchestrator.data.leakage import TestItems
from orchestrator.data.records.fields import Fields
from orchestrator.data.records.files import SUFFIXES, files
from orchestrator.data.records.opened import TEXT, form
from orchestrator.data.records.record import ExcludedRecord, Place, RecordError
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.data.table import word_counts
from orchestrator.errors import DataError

HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
SAMPLE = 20  # records that a reader is tried on
COUNTED = 50_000  # instances that are looked at: the counts of a larger source are lower bounds
# Names of columns, the most telling first.
COLUMNS = {
    "id": ("id", "uid", "uuid", "key", "idx", "index"),
    "task": ("task", "task_name", "category", "source", "dataset", "subset"),
    "messages": ("messages", "conversations", "conversation", "items", "dialog", "data"),
    "prompt": ("prompt", "instruction", "question", "query", "input", "inputs", "problem"),
    "completion": ("completion", "response", "answer", "output", "target", "targets", "solution"),
}
CONTEXT = ("input", "context")  # what stands beside an instruction
# Formats with columns of their own; those of the other readers are told by the names above.
FORMATS = ("p3", "flan_mini", "no_robots")


@dataclass(frozen=True)
class Contents:
    """What was counted of a source.

    Attributes:
        table: its instances.
        whole: whether there are no more than these.
        tasks: their tasks; 0 where they have none.
        dropped: records that hold no instance, by reason.
        leaks: rows that are test items, too, by kind.
    """

    table: pa.Table
    whole: bool
    tasks: int
    dropped: Counter[str]
    leaks: Counter[str]

    @property
    def said(self) -> str:
        """Says in a few words how much it is."""
        tasks = "one task" if self.tasks == 1 else f"{self.tasks:,} tasks"
        of = f" of {tasks}" if self.tasks else " without tasks"
        left = "".join(f", {count:,} left out: {why}" for why, count in self.dropped.items())
        return f"{'' if self.whole else 'more than '}{len(self.table):,} rows{of}{left}"


def find_source(place: str, split: str, fields: Mapping[str, Any]) -> SourceOptions:
    """The section of a study file by which the data at a place can be read.

    Args:
        place: a file, a folder or a pattern; `owner/name` of a data set on the Hugging Face hub; or
            builtin.
        split: pool or query, where a place holds both.
        fields: the columns that are known, as under `fields`.

    Raises:
        DataError: nothing is there, or no reader reads it.
    """
    if place == "builtin":
        return _section({"reader": "builtin", "split": split})
    train = "train" if split == "pool" else "test"
    folder = Path(place).expanduser()
    if (folder / "tasks").is_dir():
        listed = (folder / "splits" / "default" / f"{train}_tasks.txt").is_file()
        return _section({"reader": "niv2", "path": place} | ({"split": train} if listed else {}))
    if HUB_NAME.fullmatch(place) and not place.endswith(SUFFIXES) and not folder.exists():
        plain = {"reader": "hf", "name": place, "split": train}
    else:
        table = form(files(place)[0].path) != TEXT
        plain = {"reader": "parquet" if table else "jsonl", "path": place}
    records = _sample(plain)
    for given in _candidates(plain, fields, records):
        source = _section(given)
        if _reads(source, records):
            return source
    columns = ", ".join(sorted({key for record in records for key in record}))
    raise DataError(
        f"{place}: no reader reads its first records, which have {columns}: say which column is "
        "what, as in --fields '{prompt: question, completion: answer}', or --fields '{messages: "
        "turns}' of conversations"
    )


def look(source: SourceOptions, tests: TestItems | None = None) -> tuple[SourceOptions, Contents]:
    """Count what a source holds; ids that come twice, and tasks of one row each, are not read.

    Args:
        source: as `find_source` made it.
        tests: of which leaks are looked for.

    Raises:
        DataError: it cannot be read, or holds nothing.
    """
    found = _counted(source, tests)
    if hasattr(source, "fields") and found.dropped[readers.TWICE]:
        source = _without(source, "id")
        found = _counted(source, tests)
    if hasattr(source, "fields") and 2 * found.tasks > len(found.table) > SAMPLE:
        source = _without(source, "task")
        found = _counted(source, tests)
    if not len(found.table):
        raise DataError(f"{readers.describe(source)} holds no rows: {found.said}")
    if found.dropped:
        source = source.model_copy(update={"bad_records": "skip"})
    return source, found


def _without(source: Any, field: str) -> SourceOptions:
    """The source with a column that is not read."""
    fields = {**source.fields.model_dump(exclude_unset=True), field: None}
    return _section({**source.model_dump(exclude_unset=True), "fields": fields})


def _counted(source: SourceOptions, tests: TestItems | None) -> Contents:
    counts = readers.Counts()
    tolerant = source.model_copy(update={"bad_records": "skip"})
    tables, rows = [CHECKED.empty_table()], 0
    for part in readers.read(tolerant, counts, tests):
        tables.append(part)
        rows += len(part)
        if rows > COUNTED:
            break
    table = pa.concat_tables(tables)
    labels = set(table["task"].unique().to_pylist()) - {UNLABELLED}
    leaks = Counter(word_counts(table["leaks"]))
    return Contents(table, rows <= COUNTED, len(labels), counts.dropped, leaks)


def _section(given: Mapping[str, Any]) -> SourceOptions:
    source: SourceOptions = TypeAdapter(Source).validate_python(dict(given))
    return source


def _sample(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The first records that are objects.

    Raises:
        DataError: there is none.
    """
    source = _section(plain)
    records = (raw for block in find_reader(source.reader).blocks(source) for _, raw in block())
    sample = [raw for raw in islice(records, SAMPLE) if isinstance(raw, dict)]
    if not sample:
        raise DataError(f"{readers.describe(source)} begins with no records: give data that does")
    return sample


def _candidates(
    plain: dict[str, Any], fields: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Sections to try, those of a format first."""
    if "path" in plain and not fields:
        yield from ({"reader": name, "path": plain["path"]} for name in FORMATS)
    found = _columns(records) | dict(fields)
    yield plain | ({"fields": found} if found else {})


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which column is what, by the names of those that all records have."""
    present = {name for record in records for name in record}
    shared = {name for name in present if all(name in record for record in records)}
    found: dict[str, Any] = {
        field: next((name for name in names if name in shared), None)
        for field, names in COLUMNS.items()
    }
    for field in ("id", "task"):
        if not all(isinstance(record.get(found[field]), str | int) for record in records):
            found[field] = None
    if found["messages"] is None or (found["prompt"] and found["completion"]):
        del found["messages"]
    else:
        del found["prompt"], found["completion"]
    if found.get("prompt") == "instruction":
        beside = [name for name in CONTEXT if name in present]
        found["prompt"] = ["instruction", *beside] if beside else "instruction"
    written = {field: name for field, name in found.items() if name or field in ("id", "task")}
    return {f: name for f, name in written.items() if name != Fields.model_fields[f].default}


def _reads(source: SourceOptions, records: Sequence[dict[str, Any]]) -> bool:
    """Whether a reader makes instances of more than half of some records."""
    reader, place = find_reader(source.reader), Place("", "", 0)
    sound = 0
    for record in records:
        try:
            reader.instance(TrackedRecord(record), source, place)
        except RecordError:
            continue
        except ExcludedRecord:
            pass
        sound += 1
    return 2 * sound > len(records)
