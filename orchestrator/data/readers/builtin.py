"""`builtin`: the task suite that is generated in code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from orchestrator.config.sources import SourceOptions
from orchestrator.data import suite as builtin
from orchestrator.data.instance import Instance
from orchestrator.data.records.record import Place, Record
from orchestrator.storage.artifacts import key_digest


class BuiltinSource(SourceOptions):
    """The task suite that is generated in code."""

    reader: Literal["builtin"]
    split: Literal["pool", "query", "held_out", "off_target"]
    """Which part of it."""


SECTION = BuiltinSource


def records(source: BuiltinSource) -> Iterator[Record]:
    for number, one in enumerate(builtin.read(source.split), start=1):
        yield Place(f"builtin {source.split} {number}", source.split, number), one


def instance(record: Instance, source: BuiltinSource, place: Place) -> Instance:
    return record


def content(source: BuiltinSource) -> str:
    # The suite is code: what it generates is its content.
    return key_digest([(i.id, i.messages) for i in builtin.read(source.split)])
