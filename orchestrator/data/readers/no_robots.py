"""NoRobots (Rajani et al., 2023): conversations written by people; the category is the task."""

from __future__ import annotations

from typing import Literal

from orchestrator.config.sources import FileSource
from orchestrator.data.instance import Instance
from orchestrator.data.readers.containers import records
from orchestrator.data.readers.files import content
from orchestrator.data.readers.record import Place, beside, own_id, text
from orchestrator.data.readers.watched import Watched

__all__ = ["SECTION", "content", "instance", "records"]


class NoRobotsSource(FileSource):
    """NoRobots: conversations with a category."""

    reader: Literal["no_robots"]


SECTION = NoRobotsSource


def instance(record: Watched, source: NoRobotsSource, place: Place) -> Instance:
    turns = record.get("messages")
    found = beside(record, turns, source.max_turns)
    task = text(record.get("category"), "task")
    return found.instance(own_id(record, "prompt_id", place), task)
