"""P3, the public pool of prompts (T0, arXiv 2110.08207): prompts as they went to the tokenizer.

The task is the record's `task` or `task_name`; without one, the first folder below the path that
is not the split's, or else the file. Texts are stripped: the published ones keep the line breaks
that joined them. Candidates of templates that score answers (`is_correct: false`) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance, single_turn
from orchestrator.data.records import containers
from orchestrator.data.records.files import File, digests, files
from orchestrator.data.records.record import Block, Place, label, own_id, text
from orchestrator.data.records.tracked import TrackedRecord
from orchestrator.errors import DataError


class P3Source(FileSource):
    """P3: a folder of one file or folder a task, or files with a column `task`."""

    reader: Literal["p3"]
    split: str | None = None
    """Read only files below, or named after, this split; null: all files."""


SECTION = P3Source


def blocks(source: P3Source) -> Iterator[Block]:
    for file in _files(source):
        yield from containers.cut(file)


def instance(record: TrackedRecord, source: P3Source, place: Place) -> Instance:
    *folders, stem = place.name.split("/")
    named = next((record[key] for key in ("task", "task_name") if key in record), None)
    below = next((folder for folder in folders if folder != source.split), stem)
    return single_turn(
        own_id(record, "id", place),
        below if named is None else label(named, "task"),
        text(record.get("inputs_pretokenized"), "prompt").strip(),
        text(record.get("targets_pretokenized"), "answer").strip(),
    )


def content(source: P3Source) -> list[list[str]]:
    return digests(_files(source))


def _files(source: P3Source) -> list[File]:
    paths = files(source.path)
    if source.split is None:
        return paths
    # A folder of that name, or a file such as train.jsonl or train-00000-of-00002.parquet.
    part = re.compile(rf"(.*/)?{re.escape(source.split)}([-.].*|/.*)")
    chosen = [file for file in paths if part.fullmatch(file.name)]
    if not chosen:
        raise DataError(
            f"{source.path}: none of its {len(paths)} files is below or named after split "
            f"{source.split}, such as {paths[0].name}: name another split, or null for all files"
        )
    return chosen
