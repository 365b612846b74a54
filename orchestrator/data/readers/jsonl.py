"""Objects of JSON: one a line, in an array, or one after another; packed or not."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.sources import JsonlSource
from orchestrator.data.readers import containers
from orchestrator.data.readers.fields import instance
from orchestrator.data.readers.files import JSON_SUFFIXES, File, digests, files
from orchestrator.data.readers.record import Record

__all__ = ["content", "instance", "records"]


def records(source: JsonlSource) -> Iterator[Record]:
    for file in _files(source):
        yield from containers.read(file)


def content(source: JsonlSource) -> list[list[str]]:
    return digests(_files(source))


def _files(source: JsonlSource) -> list[File]:
    return files(source.path, JSON_SUFFIXES)
