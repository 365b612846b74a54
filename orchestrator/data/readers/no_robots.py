"""NoRobots (Rajani et al., 2023): conversations written by people; the category is the task."""

from __future__ import annotations

from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance
from orchestrator.data.records.containers import blocks
from orchestrator.data.records.conversation import conversation_of
from orchestrator.data.records.files import content
from orchestrator.data.records.record import Place, own_id, text
from orchestrator.data.records.tracked import TrackedRecord

__all__ = ["SECTION", "blocks", "content", "instance"]


class NoRobotsSource(FileSource):
    """NoRobots: conversations with a category."""

    reader: Literal["no_robots"]


SECTION = NoRobotsSource


def instance(record: TrackedRecord, source: NoRobotsSource, place: Place) -> Instance:
    turns = record.get("messages")
    conversation = conversation_of(record, turns, source.max_turns, source.roles)
    task = text(record.get("category"), "task")
    return conversation.instance(own_id(record, "prompt_id", place), task)
