"""What a record holds beside what is read of it: marks that are obeyed, and the rest, named.

A record remembers which of its keys a reader looked at, so that no list has to be kept of them.
What is left over either carries text or marks that would change what a model learns, and is
warned of, or it describes the record (ids, sources, scores) and is named calmly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from orchestrator.data.instance import Message

# Names under which data sets keep what a model would have to see or obey.
MEANING = re.compile(
    "(inputs?|system(_prompt|_message)?|instructions?|context|question|prompt|query|answer"
    "|response|output|completion|target|history|conversations?|messages|turns"
    "|reasoning(_content)?|thinking|thoughts?|rationale|explanation|chain_of_thought"
    "|tools?|tool_calls?|tool_call_id|functions?|function_call"
    "|images?|videos?|audios?|documents?|passage|article|prefix|suffix|chosen|rejected"
    "|choices|options|answers"
    "|weights?|loss|loss_(weight|mask)|mask|train|train_detail)",
    re.IGNORECASE,
)
# Names of switches that may say what is not to be learned, and that nothing here obeys.
DOUBTS = re.compile("mask.*|excluded?|skip(ped)?|ignored?|(is_)?(correct|valid)", re.IGNORECASE)
# Names of what only describes a record.
METADATA = re.compile(
    "(.*_)?(ids?|idx|index|uuid|key|hash|names?|sources?|dataset|origin|tasks?|type|category"
    "|categories|subset|split|topics?|domain|labels?|tags?|lang|languages?|licenses?|urls?"
    "|links?|title|author|user|date|time|timestamp|created|created_at|updated_at|model"
    "|generator|scores?|ratings?|quality|difficulty|toxicity|lengths?|tokens|turns|meta"
    "|metadata|extra|info|level|grade|group|kind|style|format|template|answer_choices|version|file"
    "|filename|path|role|state|status|subject|moderation|detoxify|emojis)|avatarUrl",
    re.IGNORECASE,
)
# A mark of these names with such a value says that the answer is not to be learned.
SWITCHES = ("is_correct", "train", "trainable", "training", "loss", "learn")
WEIGHTS = ("weight", "loss_weight", "loss_mask")
MARKS = frozenset((*SWITCHES, *WEIGHTS))
WORDS = {"false": False, "no": False, "true": True, "yes": True, "0": 0, "0.0": 0, "1": 1, "1.0": 1}
# Lists of marks, one of each message or answer, and the mark of each.
LISTED = {name + end: name for name in (*SWITCHES, *WEIGHTS) for end in ("", "s")}

ROLES = {
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "model", "bing", "bard"),
    "system": ("system", "developer"),
    "tool": (
        "tool", "function", "observation", "ipython", "tool_response", "tool_result",
        "function_response",
    ),
    "call": ("function_call", "tool_call"),
}  # fmt: skip
ROLE = {name: role for role, names in ROLES.items() for name in names}
QUOTED = 30  # characters from which a text that stands in another one is no accident
WHOLE = 12  # the same of all messages of an instance
TEXT = 40  # characters from which words are more than a label


class TrackedRecord(dict[str, Any]):
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
        """Returns the keys that were not read, with their values; blank ones are left out."""
        return {
            key: value for key, value in self.items() if key not in self._read and not _blank(value)
        }


def untrained_mark(record: TrackedRecord, other: Collection[str] = ()) -> str:
    """Returns the mark of a record or message that says "do not train", as `weight: 0`; else "".

    Marks that say the opposite (`weight: 1`, `train: true`) count as read; other values of these
    names, such as a weight of 0.5, do not, because nothing here obeys them.

    Args:
        record: with its marks.
        other: columns that are something else, because the study file names them.
    """
    if MARKS.isdisjoint(record):
        return ""
    first = ""
    for name in (*SWITCHES, *WEIGHTS):
        # Not through `record[name]` at first: a value that is no mark was not read.
        says = None if name in other else _says(name, dict.get(record, name))
        if says is not None:
            mark = f"{name}: {_written(record[name])}"
            first = first or ("" if says else mark)
    return first


def with_marks(record: TrackedRecord, turns: Any) -> Any:
    """Gives turns the marks that a record keeps in lists beside them, as `loss_mask: [0, 1]`.

    A list is of the turns, or of the answers among them, by its length. One of another length, or
    with other values, stays unread.
    """
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return turns
    answers = [
        place
        for place, turn in enumerate(turns)
        if ROLE.get(str(turn.get("role", turn.get("from"))).lower()) == "assistant"
    ]
    for name, mark in LISTED.items():
        values = dict.get(record, name)
        places = {len(answers): answers, len(turns): range(len(turns))}
        if not isinstance(values, list) or not values or len(values) not in places:
            continue
        says = [_says(mark, value) for value in values]
        if None not in says:
            record[name]  # read
            turns = [dict(turn) for turn in turns]
            for place, value, trained in zip(places[len(values)], values, says, strict=True):
                if not trained:
                    turns[place][mark] = value
    return turns


def carries_meaning(name: str, value: Any) -> bool:
    """Says whether a model would learn something else if this value were read."""
    if isinstance(value, list | tuple) and all(isinstance(item, int | float) for item in value):
        return name in LISTED  # else tokens, as P3 keeps them beside the text
    if MEANING.fullmatch(name):
        return True
    texts = list(_texts(value))
    if any(len(text) > TEXT and " " in text.strip() for text in texts):
        return True  # whatever its name
    if METADATA.fullmatch(name):
        return False
    if isinstance(value, bool):
        return DOUBTS.fullmatch(name) is not None
    # Text and pictures under a name that says nothing may be what the answer is about.
    return bool(texts) or not isinstance(value, int | float | dict | list | tuple)


def repeats(value: Any, messages: tuple[Message, ...]) -> bool:
    """Says whether a value holds no text but what stands in the messages already, as a copy of the
    first prompt beside them, or is all of the messages."""
    texts = list(_texts(value))
    return bool(texts) and all(_repeats(text.strip(), messages) for text in texts)


def _repeats(text: str, messages: tuple[Message, ...]) -> bool:
    return _holds_all(text, messages) or any(
        text == said
        or said.endswith(f"\n\n{text}")  # a prompt behind its system message
        or (len(text) >= QUOTED and text in said)
        for said in (message["content"].strip() for message in messages)
    )


def _holds_all(text: str, messages: tuple[Message, ...]) -> bool:
    """Says whether a text is the messages in turn, with something around each paragraph."""
    parts = [
        part.strip()
        for message in messages
        for part in message["content"].split("\n\n")
        if part.strip()
    ]
    if sum(map(len, parts)) < WHOLE:
        return False
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def _texts(value: Any) -> Iterator[str]:
    """Yields the strings that a value holds, without blank ones."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _says(name: str, value: Any) -> bool | None:
    """Says whether a mark says "train"; None for a value that no mark has."""
    if isinstance(value, str):
        value = WORDS.get(value.strip().lower(), value)
    if isinstance(value, bool):
        return value
    if name == "loss" or not isinstance(value, int | float):
        return None  # a loss that is a number is a measured one
    if name in WEIGHTS and value < 0:
        return False
    return bool(value) if value in (0, 1) else None


def _written(value: Any) -> str:
    """Writes a mark as a reason calls it: the same for 0 and 0.0, and for false and "False"."""
    if isinstance(value, bool | str):
        return str(value).strip().lower()
    return f"{value:g}"


def _blank(value: Any) -> bool:
    return value is None or value in ([], {}, ()) or (isinstance(value, str) and not value.strip())
