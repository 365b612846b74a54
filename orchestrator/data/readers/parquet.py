"""Parquet, or Arrow: one row a record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.records import containers
from orchestrator.data.records.fields import Fields, instance
from orchestrator.data.records.files import File, digests, files
from orchestrator.data.records.record import Block

__all__ = ["SECTION", "blocks", "content", "instance"]


class ParquetSource(FileSource):
    """A table of Parquet or Arrow: one row a record."""

    reader: Literal["parquet"]
    fields: Fields = Fields()
    """Which column is what."""


SECTION = ParquetSource


def blocks(source: ParquetSource) -> Iterator[Block]:
    for file in _files(source):
        yield from containers.cut(file)


def content(source: ParquetSource) -> list[list[str]]:
    return digests(_files(source))


def _files(source: ParquetSource) -> list[File]:
    return files(source.path, (".parquet", ".arrow"))
