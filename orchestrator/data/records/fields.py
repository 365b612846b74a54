"""Records mapped by the names of their columns: what `jsonl`, `parquet` and `hf` share."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field

from orchestrator.config.section import Section, later
from orchestrator.data.instance import UNLABELLED, Instance, single_turn, with_references
from orchestrator.data.records.conversation import conversation_of
from orchestrator.data.records.record import Place, RecordError, label, shown, sound_texts, text
from orchestrator.data.records.tracked import TrackedRecord

Columns = str | Annotated[list[str], Field(min_length=1)]


class Fields(Section):
    """Names of the columns of a record. `messages`, where given, takes the place of prompt and
    completion; a null `id` numbers the records; a null `task` leaves them without a task. Several
    columns, as in prompt: [instruction, input], are joined; those without text are left out."""

    id: str | None = "id"
    """null: records are numbered."""
    task: str | None = "task"
    """null: there are no tasks."""
    prompt: Columns = "prompt"
    """One column, or several that are joined."""
    completion: Columns = "completion"
    """One column, or several that are joined."""
    separator: str = "\n\n"
    """Between joined columns: a blank line."""
    messages: str | None = None
    """Column of whole conversations, in place of prompt and completion: messages, or texts alone of
    user and assistant in turn."""
    references: str | None = later(None)
    """Column of a list of further right answers, of which a generated answer is scored by the best;
    the loss is that of the completion."""


class ColumnSource(Protocol):
    """A section that names the columns of its records."""

    @property
    def fields(self) -> Fields: ...

    @property
    def max_turns(self) -> int: ...

    @property
    def roles(self) -> str: ...


def instance(record: TrackedRecord, source: ColumnSource, place: Place) -> Instance:
    """Makes an instance of the values in the columns that `source.fields` names.

    Raises:
        RecordError: a column is missing, or its value is not what it must be.
        ExcludedRecord: every answer is marked not to be trained on.
    """
    fields = source.fields
    id = place.id if fields.id is None else label(_value(record, fields.id, "id"), "id")
    task = UNLABELLED
    if fields.task is not None:
        task = label(_value(record, fields.task, "task"), "task")
    if fields.messages is not None:
        turns = _value(record, fields.messages, "messages")
        made = conversation_of(record, turns, source.max_turns, source.roles)
        return _with_references(made.instance(id, task), record, fields)
    prompt = _text(record, fields.prompt, "prompt", fields.separator)
    answer = _text(record, fields.completion, "completion", fields.separator)
    return _with_references(single_turn(id, task, prompt, answer), record, fields)


def named_columns(source: Any) -> set[str]:
    """Returns the columns to which a section gives a meaning; none if it has no `fields`."""
    fields = _fields(source)
    if fields is None:
        return set()
    named = (
        fields.id, fields.task, fields.messages, fields.prompt, fields.completion,
        fields.references,
    )  # fmt: skip
    return {
        name for names in named if names for name in (names if isinstance(names, list) else [names])
    }


def joined_columns(source: Any) -> set[str]:
    """Returns the columns that a record may lack, because they are joined with others."""
    fields = _fields(source)
    if fields is None or fields.messages is not None:
        return set()
    lists = [names for names in (fields.prompt, fields.completion) if isinstance(names, list)]
    return {name for names in lists for name in names}


def _with_references(instance: Instance, record: TrackedRecord, fields: Fields) -> Instance:
    if fields.references is None:
        return instance
    given = _value(record, fields.references, "references")
    if given is not None and not isinstance(given, list):
        raise RecordError("references are no list", shown(given))
    return with_references(instance, sound_texts(given or ()))


def _fields(source: Any) -> Fields | None:
    fields = getattr(source, "fields", None)
    return fields if isinstance(fields, Fields) else None


def _text(record: TrackedRecord, columns: str | list[str], field: str, separator: str) -> str:
    """Returns the text of a column, or of several, joined; those without text are left out."""
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


def _value(record: TrackedRecord, column: str, field: str) -> Any:
    if column not in record:
        columns = ", ".join(ascii(name)[:40] for name in sorted(record)[:20]) or "nothing"
        null = ", or null for none" if field in ("id", "task") else ""
        raise RecordError(
            f"column of the {field} is missing",
            f"there is no {column!r}, but {columns}: "
            f"name the column{null} under fields: {{{field}: ...}}",
        )
    return record[column]
