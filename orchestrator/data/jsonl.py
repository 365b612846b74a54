"""JSON Lines: one object a line with an id, a task, a prompt and a completion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config.schema import JsonlSource
from orchestrator.data.instance import Instance, single_turn
from orchestrator.errors import DataError


def read(source: JsonlSource) -> Iterator[Instance]:
    """Instances in file order.

    Raises:
        DataError: naming file and line, for what is no JSON object, not UTF-8, or has a field
            missing or of the wrong type.
    """
    path = Path(source.path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}. Give the path of a JSON Lines file, "
            "relative to the folder in which the command runs"
        ) from None
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _instance(line, source, f"{path}:{number}")


def _instance(line: bytes, source: JsonlSource, place: str) -> Instance:
    try:
        record = json.loads(line.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{place}: not a line of JSON in UTF-8: {error}") from None
    if not isinstance(record, dict):
        raise DataError(f"{place}: a {type(record).__name__} instead of an object {{...}}")
    values = {}
    for field, column in source.fields.model_dump().items():
        value = record.get(column)
        if field == "id" and type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            raise DataError(
                f"{place}: field {column!r} is {'missing' if value is None else repr(value)[:40]}; "
                f"it must be text. Name another column under fields: {{{field}: ...}} "
                f"(this line has {', '.join(sorted(record))})"
            )
        values[field] = value
    return single_turn(values["id"], values["task"], values["prompt"], values["completion"])
