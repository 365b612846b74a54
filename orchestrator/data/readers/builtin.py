"""`builtin`: the task suite that is generated in code."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from orchestrator.config.sources import SourceOptions
from orchestrator.data import suite as builtin
from orchestrator.data.instance import Instance
from orchestrator.data.records.record import Block, Place, Record
from orchestrator.storage.artifacts import key_digest


class BuiltinSource(SourceOptions):
    """The task suite that is generated in code."""

    reader: Literal["builtin"]
    split: Literal["pool", "query", "held_out", "off_target"]
    """Which part of it."""


SECTION = BuiltinSource


def blocks(source: BuiltinSource) -> Iterator[Block]:
    yield partial(_records, source.split)


def instance(record: Instance, source: BuiltinSource, place: Place) -> Instance:
    return record


def content(source: BuiltinSource) -> str:
    # The suite is code: what it generates is its content.
    return key_digest([(i.id, i.messages) for i in builtin.read(source.split)])


def _records(split: str) -> Iterator[Record]:
    for number, one in enumerate(builtin.read(split), start=1):
        yield Place(f"builtin {split} {number}", split, number), one
