"""UltraChat (arXiv 2305.14233) and UltraChat-200k (filtered in 2310.16944): conversations without
tasks, of texts alone in `data` or of messages."""

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
    turns = record["messages"] if "messages" in record else record.get("data")
    conversation = conversation_of(record, turns, source.max_turns, source.roles)
    key = "prompt_id" if "prompt_id" in record else "id"
    return conversation.instance(own_id(record, key, place), UNLABELLED)
