"""Records mapped by the names of their columns: what `jsonl`, `parquet` and `hf` share."""

from __future__ import annotations

from typing import Any

from orchestrator.config.sources import HubSource, JsonlSource, ParquetSource
from orchestrator.data.instance import UNLABELLED, Instance, single_turn
from orchestrator.data.readers.record import (
    Place,
    RecordError,
    beside,
    label,
    text,
)
from orchestrator.data.readers.watched import Watched


def instance(
    record: Watched, source: JsonlSource | ParquetSource | HubSource, place: Place
) -> Instance:
    """The instance whose values stand in the columns that `source.fields` names.

    Raises:
        RecordError: a column is missing, or its value is not what it must be.
        LeftOut: every answer is marked not to be trained on.
    """
    fields = source.fields
    id = place.id if fields.id is None else label(_value(record, fields.id, "id"), "id")
    task = UNLABELLED
    if fields.task is not None:
        task = label(_value(record, fields.task, "task"), "task")
    if fields.messages is not None:
        turns = _value(record, fields.messages, "messages")
        found = beside(record, turns, source.max_turns)
        return found.instance(id, task)
    prompt = _text(record, fields.prompt, "prompt", fields.separator)
    answer = _text(record, fields.completion, "completion", fields.separator)
    return single_turn(id, task, prompt, answer)


def _text(record: Watched, columns: str | list[str], field: str, separator: str) -> str:
    """The text of a column, or of several, joined; those without text are left out."""
    what = {"prompt": "prompt", "completion": "answer"}[field]
    if isinstance(columns, str):
        return text(_value(record, columns, field), what)
    if not any(column in record for column in columns):
        _value(record, columns[0], field)
    values = [record.get(column) for column in columns]
    parts = [text(value, what) for value in values if value not in (None, "") and not _blank(value)]
    return text(separator.join(parts), what)


def _blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _value(record: Watched, column: str, field: str) -> Any:
    if column not in record:
        columns = ", ".join(ascii(name)[:40] for name in sorted(record)[:20]) or "nothing"
        null = ", or null for none" if field in ("id", "task") else ""
        raise RecordError(
            f"column of the {field} is missing",
            f"there is no {column!r}, but {columns}: "
            f"name the column{null} under fields: {{{field}: ...}}",
        )
    return record[column]
