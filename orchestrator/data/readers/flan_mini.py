"""Flan-mini (Flacuna, arXiv 2307.02053): conversations whose task stands in `source`.

The paper's split (arXiv 2406.11721) is a file of task names: {"train_key_list": [...],
"eval_key_list": [...]}. Without it, `tasks` patterns are the way to split.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance
from orchestrator.data.records import containers
from orchestrator.data.records.conversation import conversation_of
from orchestrator.data.records.files import File, digests, files, read_text
from orchestrator.data.records.record import Block, ExcludedRecord, Place, Record, own_id, text
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.errors import DataError


class FlanMiniSource(FileSource):
    """Flan-mini: conversations with their task in `source`."""

    PLACES: ClassVar[frozenset[str]] = FileSource.PLACES | {"keys"}

    reader: Literal["flan_mini"]
    keys: str | None = None
    """File `{"train_key_list": [...], "eval_key_list": [...]}` of tasks; null: all are read."""
    split: Literal["train", "eval"] | None = None
    """Which list."""

    @model_validator(mode="after")
    def _split(self) -> FlanMiniSource:
        if (self.keys is None) != (self.split is None):
            raise ValueError("keys names the file of the split: set keys and split, or neither")
        return self


SECTION = FlanMiniSource


def blocks(source: FlanMiniSource) -> Iterator[Block]:
    """Yields the blocks of the files; of a split, with ExcludedRecord for those of other tasks.

    Raises:
        DataError: no file of keys, or not in this form.
    """
    tasks = _tasks(source)
    for block in containers.blocks(source):
        yield block if tasks is None else partial(_of_split, tasks, block)


def instance(record: TrackedRecord, source: FlanMiniSource, place: Place) -> Instance:
    turns = record.get("conversations")
    conversation = conversation_of(record, turns, source.max_turns, source.roles)
    task = text(record.get("source"), "task")
    return conversation.instance(own_id(record, "id", place), task)


def content(source: FlanMiniSource) -> list[list[str]]:
    keys = [File(Path(source.keys).expanduser(), "keys")] if source.keys else []
    return digests(files(source.path) + keys)


def _of_split(tasks: frozenset[str], block: Block) -> Iterator[Record]:
    for place, record in block():
        task = record.get("source") if isinstance(record, dict) else None
        other = isinstance(task, str) and task not in tasks
        yield place, ExcludedRecord("task of the other split") if other else record


def _tasks(source: FlanMiniSource) -> frozenset[str] | None:
    if source.keys is None:
        return None
    path, key = Path(source.keys).expanduser(), f"{source.split}_key_list"
    lists = containers.parse(read_text(path).encode())
    tasks = lists.get(key) if isinstance(lists, dict) else None
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise DataError(
            f"{path}: no list of tasks under {key}. Give a JSON file "
            '{"train_key_list": [...], "eval_key_list": [...]}'
        )
    return frozenset(tasks)
