"""UltraChat-200k (arXiv 2305.14233, filtered in 2310.16944): conversations without tasks."""

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


class UltraChatSource(FileSource):
    """UltraChat-200k: conversations without tasks."""

    reader: Literal["ultrachat"]


SECTION = UltraChatSource


def instance(record: TrackedRecord, source: UltraChatSource, place: Place) -> Instance:
    turns = record.get("messages")
    conversation = conversation_of(record, turns, source.max_turns)
    return conversation.instance(own_id(record, "prompt_id", place), UNLABELLED)
