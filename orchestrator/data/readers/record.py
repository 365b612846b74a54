"""One record of a source: where it stands, what can be wrong with it, and the checks of its text.

Reasons are short phrases without data in them, because they are counted; the detail beside them
is for the message of an error.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orchestrator.data.instance import Instance, Message
from orchestrator.data.readers.watched import (
    ROLE,
    Watched,
    carries_meaning,
    marked,
    repeats,
    untrained,
)

RECORD_BYTES = 16 * 2**20  # a longer record is a bad one, and is never decoded


class RecordError(Exception):
    """One record cannot be read; `bad_records` says what becomes of it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason} ({detail})" if detail else reason)


class LeftOut(Exception):
    """An option leaves the record out: counted, and never an error."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands.

    Attributes:
        text: for messages, such as `data/train.jsonl:12`.
        name: its file relative to the path of the source, without suffix, such as `ag_news/train`.
        number: of the record in its file, from 1.
    """

    text: str
    name: str
    number: int

    def __str__(self) -> str:
        return self.text

    @property
    def id(self) -> str:
        """The id of a record that has none of its own."""
        return f"{self.name}-{self.number}"


# What a source yields: a RecordError or LeftOut in place of a record that is none.
Record = tuple[Place, Any]


def too_long() -> RecordError:
    return RecordError("longer than 16 MiB")


def text(value: Any, what: str) -> str:
    """The value, if it is text that can be trained on.

    Args:
        value: a value of a record; None where there is none.
        what: how the reason calls it: prompt, answer, id or task.

    Raises:
        RecordError: missing, not a string, blank, or with a NUL or a lone surrogate.
    """
    if value is None:
        raise RecordError(f"{what} is missing")
    if not isinstance(value, str):
        raise RecordError(f"{what} is not text", shown(value))
    if not value.strip():
        raise RecordError(f"{what} is empty")
    if "\0" in value:
        raise RecordError(f"{what} holds a NUL", f"character {value.index(chr(0)) + 1}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        detail = f"U+{ord(value[error.start]):04X}, character {error.start + 1}"
        raise RecordError(f"{what} holds a lone surrogate", detail) from None
    return value


def label(value: Any, what: str) -> str:
    """An id or a task: text, or a whole number.

    Raises:
        RecordError: as `text`.
    """
    return str(value) if type(value) is int else text(value, what)


def own_id(record: dict[str, Any], key: str, place: Place) -> str:
    """The record's id, or its place where the record has none."""
    value = record.get(key)
    return place.id if value is None else label(value, "id")


def obey(record: Watched, named: Collection[str] = ()) -> None:
    """Leave out a record that is marked not to be trained on.

    Args:
        record: with its marks.
        named: columns that are no marks, because the study file says what they are.

    Raises:
        LeftOut: it is marked.
    """
    if mark := untrained(record, named):
        raise LeftOut(f"marked {mark}")


def told_of(record: Watched, instance: Instance) -> Instance:
    """The instance of a record, with the names of what its reader did not look at."""
    left = {
        name: carries_meaning(name, value)
        for name, value in record.unread().items()
        if not repeats(value, instance.messages)
    }
    if not left:
        return instance
    return replace(
        instance,
        unread=(*instance.unread, *(name for name, means in left.items() if means)),
        metadata=(*instance.metadata, *(name for name, means in left.items() if not means)),
    )


class Conversation(NamedTuple):
    """What was read of a list of turns; fields as in `Instance`."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...] = ()
    unlearned: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def instance(self, id: str, task: str) -> Instance:
        return Instance(id, task, *self)


def beside(record: Watched, turns: Any, max_turns: int) -> Conversation:
    """The conversation of a record's turns, with the system message and the lists of marks that
    it keeps in columns beside them.

    Raises:
        RecordError, LeftOut: as `conversation`.
    """
    return conversation(marked(record, turns), max_turns, _system_beside(record, turns))


def conversation(turns: Any, max_turns: int, system: str = "") -> Conversation:
    """Alternating user and assistant messages, and notes on what was changed to get them.

    Messages are {"role", "content"} or {"from", "value"}; their text may be given in parts. A
    leading system message goes before the first prompt with a blank line between; a last prompt
    without answer is left off. An answer that is marked not to be trained on stays, unlearned.

    Args:
        turns: a value of a record.
        max_turns: user/assistant pairs that are kept; what follows them is not looked at.
        system: a system message that stands beside the turns; "" for none.

    Raises:
        RecordError: no list of messages, an unknown role, text that `text` refuses, roles that
            do not alternate from the user on, or no answer.
        LeftOut: every answer is marked not to be trained on.
    """
    if not isinstance(turns, list) or not turns:
        raise RecordError("no messages", f"{shown(turns)} instead of a list of messages")
    first = _message(turns[0], 1)
    opening = int(first.role == "system")
    kept = turns[opening : opening + 2 * max_turns]
    spoken = [_message(turn, number) for number, turn in enumerate(kept, start=1 + opening)]
    notes = ["turns beyond max_turns left off"] if len(turns) > opening + len(kept) else []
    for number, turn in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            detail = f"message {number + 1} is of the {turn.role}, where the {expected} is next"
            raise RecordError("roles do not alternate", detail)
    if len(spoken) % 2:
        spoken.pop()
        notes.append("last prompt without answer left off")
    if not spoken:
        raise RecordError("answer is missing")
    unlearned = tuple(place for place in range(1, len(spoken), 2) if spoken[place].mark)
    if 2 * len(unlearned) == len(spoken):
        raise LeftOut(f"marked {spoken[1].mark}")
    notes += [f"answer marked {spoken[place].mark} not learned" for place in unlearned]
    if any(turn.joined for turn in spoken):
        notes.append("parts of a message joined")
    if system := first.text if opening and first.text else system:
        spoken[0] = spoken[0]._replace(text=f"{system}\n\n{spoken[0].text}")
        notes.append("system message put before the prompt")
    left = [item for turn in (*[first] * opening, *spoken) for item in turn.left.items()]
    matters = {f"messages.{key}": _matters(key, value) for key, value in left}
    return Conversation(
        tuple(Message(role=turn.role, content=turn.text) for turn in spoken),
        tuple(notes),
        unlearned,
        tuple(name for name, means in matters.items() if means),
        tuple(name for name, means in matters.items() if not means),
    )


def _system_beside(record: Watched, turns: Any) -> str:
    """The system message that a record keeps in a column beside its turns; "" for none.

    One that the turns begin with has the preference, unless it is empty: the column then counts
    as unread.
    """
    begins = turns[0] if isinstance(turns, list) and turns else None
    if isinstance(begins, dict):
        role = ROLE.get(str(begins.get("role", begins.get("from"))).lower())
        if role == "system" and begins.get("content", begins.get("value")):
            return ""
    for column in ("system", "system_prompt"):
        value = dict.get(record, column)
        if isinstance(value, str) and value.strip():
            return text(record[column], "system message")
    return ""


class _Turn(NamedTuple):
    """A message as it was read; `left` holds what else it holds, `mark` says "do not train"."""

    role: Any
    text: str
    mark: str
    joined: bool
    left: dict[str, Any]


def _message(turn: Any, number: int) -> _Turn:
    """Role and text of a message; an empty system message has the text ""."""
    if not isinstance(turn, dict):
        raise RecordError("a message is not an object", f"message {number} is {shown(turn)}")
    turn = Watched(turn)
    keys = ("from", "value") if "from" in turn else ("role", "content")
    name, said = (turn.get(key) for key in keys)
    role = ROLE.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise RecordError("unknown role", f"message {number} is of {shown(name)}")
    mark = untrained(turn)
    if role == "system" and (said is None or said == ""):
        return _Turn(role, "", mark, False, turn.unread())
    calls = [key for key in ("tool_calls", "function_call") if turn.unread().get(key)]
    if calls and not said:
        raise RecordError("a message is a tool call without text", f"message {number}: {calls[0]}")
    joined = isinstance(said, list)
    what = {"user": "prompt", "assistant": "answer", "system": "system message"}[role]
    left: dict[str, Any] = {}
    if joined:
        said, left = _whole(said, number)
    return _Turn(role, text(said, what), mark, joined, turn.unread() | left)


def _whole(parts: list[Any], number: int) -> tuple[str, dict[str, Any]]:
    """The text of a message that is given as [{"type": "text", "text": ...}, ...], and what else
    its parts hold."""
    texts: list[str] = []
    left: dict[str, Any] = {}
    for given in parts:
        part = Watched(given if isinstance(given, dict) else {"text": given})
        kind, said = part.get("type", "text"), part.get("text")
        if kind != "text" or not isinstance(said, str):
            raise RecordError("a message holds more than text", f"message {number}: {shown(kind)}")
        texts.append(said)
        left |= {f"content.{key}": value for key, value in part.unread().items()}
    return "".join(texts), left


def _matters(key: str, value: Any) -> bool:
    name = key.rpartition(".")[2]
    # Of a message, a number or a switch of unknown name may be a mark, too.
    return carries_meaning(name, "") or carries_meaning(name, value)


def shown(value: Any) -> str:
    """A value in at most 40 characters that every terminal can print."""
    printed = ascii(value[:40] if isinstance(value, str | list) else value)
    return printed if len(printed) <= 40 else printed[:37] + "..."
