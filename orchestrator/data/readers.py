"""One table that names the readers, and what holds for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.artifacts import file_digest, key_digest
from orchestrator.config.schema import BuiltinSource, JsonlSource
from orchestrator.data import builtin, jsonl
from orchestrator.data.instance import Instance
from orchestrator.errors import DataError

Source = BuiltinSource | JsonlSource

READERS: dict[str, Callable[[Any], Iterator[Instance]]] = {
    "builtin": lambda source: builtin.read(source.split),
    "jsonl": jsonl.read,
}


def read(source: Source, dropped: Counter[str]) -> Iterator[Instance]:
    """Instances of a source within its limits.

    Args:
        source: the section of the study file.
        dropped: counts by reason what is left out; filled while the iterator is consumed.

    Raises:
        DataError: for a record that cannot be read, or for an id that comes twice.
    """
    seen: set[str] = set()
    per_task: Counter[str] = Counter()
    for instance in READERS[source.reader](source):
        if instance.id in seen:
            raise DataError(f"{_name(source)}: the id {instance.id!r} comes twice; ids are unique")
        seen.add(instance.id)
        messages = instance.messages[: 2 * source.max_turns]
        texts = [message["content"] for message in messages]
        if not all(text.strip() for text in texts):
            dropped["empty prompt or answer"] += 1
        elif source.max_chars is not None and sum(map(len, texts)) > source.max_chars:
            dropped[f"longer than {source.max_chars} characters"] += 1
        elif source.max_per_task is not None and per_task[instance.task] >= source.max_per_task:
            dropped[f"beyond {source.max_per_task} of its task"] += 1
        else:
            per_task[instance.task] += 1
            yield Instance(instance.id, instance.task, messages)


def fingerprint(source: Source) -> dict[str, Any]:
    """What determines the instances of a source: its options, and the bytes behind them."""
    described = source.model_dump(mode="json")
    if isinstance(source, JsonlSource):
        path = Path(source.path)
        if not path.is_file():
            raise DataError(
                f"{path}: no such file. Give the path of a JSON Lines file, "
                "relative to the folder in which the command runs"
            )
        described["path"] = file_digest(path)
    else:
        # The suite is code: what it generates is its content.
        described["content"] = key_digest([(i.id, i.messages) for i in builtin.read(source.split)])
    return described


def _name(source: Source) -> str:
    return source.path if isinstance(source, JsonlSource) else f"builtin {source.split}"
