"""Objects of JSON: one a line, in an array, or one after another; packed or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.records import containers
from orchestrator.data.records.fields import Fields, instance
from orchestrator.data.records.files import JSON_SUFFIXES, File, digests, files
from orchestrator.data.records.record import Block

__all__ = ["SECTION", "blocks", "content", "instance"]


class JsonlSource(FileSource):
    """JSON objects: one a line, in an array, or one after another."""

    reader: Literal["jsonl"]
    fields: Fields = Fields()
    """Which column is what."""


SECTION = JsonlSource


def blocks(source: JsonlSource) -> Iterator[Block]:
    for file in _files(source):
        yield from containers.cut(file)


def content(source: JsonlSource) -> list[list[str]]:
    return digests(_files(source))


def _files(source: JsonlSource) -> list[File]:
    return files(source.path, JSON_SUFFIXES)
