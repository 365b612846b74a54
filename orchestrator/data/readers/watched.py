"""What a record holds beside what is read of it: marks that are obeyed, and the rest, named.

A record remembers which of its keys a reader looked at, so that no list has to be kept of them.
What is left over either carries text or marks that would change what a model learns, and is
warned of, or it describes the record (ids, sources, scores) and is named calmly.
"""

from __future__ import annotations

import re
from typing import Any

from orchestrator.data.instance import Message

# Names under which data sets keep what a model would have to see or obey.
MEANING = re.compile(
    "(inputs?|system(_prompt|_message)?|instructions?|context|question|prompt|query|answer"
    "|response|output|completion|target|history|conversations?|messages|turns"
    "|reasoning(_content)?|thinking|thoughts?|rationale|explanation|chain_of_thought"
    "|tools?|tool_calls?|tool_call_id|functions?|function_call"
    "|images?|videos?|audios?|documents?|passage|article|prefix|suffix|chosen|rejected"
    "|weights?|loss|loss_(weight|mask)|mask|train|train_detail)",
    re.IGNORECASE,
)
# Names of what only describes a record.
METADATA = re.compile(
    "(.*_)?(ids?|idx|index|uuid|key|hash|names?|sources?|dataset|origin|tasks?|type|category"
    "|categories|subset|split|topics?|domain|labels?|tags?|lang|languages?|licenses?|urls?"
    "|links?|title|author|user|date|time|timestamp|created|created_at|updated_at|model"
    "|generator|scores?|ratings?|quality|difficulty|toxicity|lengths?|tokens|turns|meta"
    "|metadata|extra|info|level|grade|group|kind|style|format|template|answer_choices|version|file|filename|path)",
    re.IGNORECASE,
)
# A mark of these names with such a value says that the answer is not to be learned.
SWITCHES = ("is_correct", "train", "trainable", "training", "loss", "learn")
WEIGHTS = ("weight", "loss_weight", "loss_mask")
QUOTED = 30  # characters from which a text that stands in another one is no accident


class Watched(dict[str, Any]):
    """A record or a message that remembers which of its keys were read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return super().get(key, default)

    def unread(self) -> dict[str, Any]:
        """The keys that were not read, with their values; blank ones are left out."""
        return {
            key: value for key, value in self.items() if key not in self._read and not _blank(value)
        }


def untrained(record: Watched) -> str:
    """The mark of a record or message that says "do not train", as `weight: 0`; else "".

    Marks that say the opposite (`weight: 1`, `train: true`) count as read; other values of these
    names, such as a weight of 0.5, do not, because nothing here obeys them.
    """
    marks = [
        f"{name}: {str(value).lower()}" if isinstance(value, bool) else f"{name}: 0"
        for name in (*SWITCHES, *WEIGHTS)
        if name in record and _is_mark(name, record) and not (value := record[name])
    ]
    return marks[0] if marks else ""


def carries_meaning(name: str, value: Any) -> bool:
    """Would a model learn something else if this value were read?"""
    if isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value):
        return False  # tokens, as P3 keeps them beside the text
    if MEANING.fullmatch(name):
        return True
    if METADATA.fullmatch(name):
        return False
    # Text and pictures under a name that says nothing may be what the answer is about.
    return not isinstance(value, bool | int | float | dict)


def repeats(value: Any, messages: tuple[Message, ...]) -> bool:
    """Does a text stand in the messages already, as a copy of the first prompt beside them?"""
    if not isinstance(value, str):
        return False
    text = value.strip()
    return any(
        text == message["content"].strip() or (len(text) >= QUOTED and text in message["content"])
        for message in messages
    )


def _is_mark(name: str, record: Watched) -> bool:
    # Not through `record[name]`: a value that is no mark was not read.
    value = dict.__getitem__(record, name)
    if name == "loss":  # as a number it is a measured one
        return isinstance(value, bool)
    return isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1))


def _blank(value: Any) -> bool:
    return value is None or value in ([], {}, ()) or (isinstance(value, str) and not value.strip())
