"""Parquet, or Arrow: one row a record."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.config.sources import ParquetSource
from orchestrator.data.readers import containers
from orchestrator.data.readers.fields import instance
from orchestrator.data.readers.files import File, digests, files
from orchestrator.data.readers.record import Record

__all__ = ["content", "instance", "records"]


def records(source: ParquetSource) -> Iterator[Record]:
    for file in _files(source):
        yield from containers.read(file)


def content(source: ParquetSource) -> list[list[str]]:
    return digests(_files(source))


def _files(source: ParquetSource) -> list[File]:
    return files(source.path, (".parquet", ".arrow"))
