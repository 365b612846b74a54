"""ShareGPT: conversations of users with ChatGPT, under `items` or `conversations`, no tasks."""

from __future__ import annotations

from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import UNLABELLED, Instance
from orchestrator.data.records.containers import blocks
from orchestrator.data.records.conversation import conversation_of
from orchestrator.data.records.files import content
from orchestrator.data.records.record import Place, own_id
from orchestrator.data.records.tracked import TrackedRecord

__all__ = ["SECTION", "blocks", "content", "instance"]


class ShareGPTSource(FileSource):
    """ShareGPT: conversations without tasks."""

    reader: Literal["sharegpt"]


SECTION = ShareGPTSource


def instance(record: TrackedRecord, source: ShareGPTSource, place: Place) -> Instance:
    turns = record["items"] if "items" in record else record.get("conversations")
    conversation = conversation_of(record, turns, source.max_turns, source.roles)
    return conversation.instance(own_id(record, "id", place), UNLABELLED)
