"""Objects of JSON: one a line, in an array, or one after another; packed or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.records import containers
from orchestrator.data.records.fields import Fields, instance
from orchestrator.data.records.files import JSON_SUFFIXES, File, digests, files
from orchestrator.data.records.record import Record

__all__ = ["SECTION", "content", "instance", "records"]


class JsonlSource(FileSource):
    """JSON objects: one a line, in an array, or one after another."""

    reader: Literal["jsonl"]
    fields: Fields = Fields()
    """Which column is what."""


SECTION = JsonlSource


def records(source: JsonlSource) -> Iterator[Record]:
    for file in _files(source):
        yield from containers.read(file)


def content(source: JsonlSource) -> list[list[str]]:
    return digests(_files(source))


def _files(source: JsonlSource) -> list[File]:
    return files(source.path, JSON_SUFFIXES)
