"""UltraChat-200k (arXiv 2305.14233, filtered in 2310.16944): conversations without tasks."""

from __future__ import annotations

from orchestrator.config.sources import UltraChatSource
from orchestrator.data.instance import UNLABELLED, Instance
from orchestrator.data.readers.containers import records
from orchestrator.data.readers.files import content
from orchestrator.data.readers.record import Place, beside, own_id
from orchestrator.data.readers.watched import Watched

__all__ = ["content", "instance", "records"]


def instance(record: Watched, source: UltraChatSource, place: Place) -> Instance:
    turns = record.get("messages")
    found = beside(record, turns, source.max_turns)
    return found.instance(own_id(record, "prompt_id", place), UNLABELLED)
