"""ShareGPT: conversations of users with ChatGPT, under `items` or `conversations`, no tasks."""

from __future__ import annotations

from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import UNLABELLED, Instance
from orchestrator.data.readers.containers import records
from orchestrator.data.readers.files import content
from orchestrator.data.readers.record import Place, beside, own_id
from orchestrator.data.readers.watched import Watched

__all__ = ["SECTION", "content", "instance", "records"]


class ShareGPTSource(FileSource):
    """ShareGPT: conversations without tasks."""

    reader: Literal["sharegpt"]


SECTION = ShareGPTSource


def instance(record: Watched, source: ShareGPTSource, place: Place) -> Instance:
    turns = record["items"] if "items" in record else record.get("conversations")
    found = beside(record, turns, source.max_turns)
    return found.instance(own_id(record, "id", place), UNLABELLED)
