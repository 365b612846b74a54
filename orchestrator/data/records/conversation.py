"""Reads a list of turns as alternating messages of user and assistant."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.data.instance import Instance, Message
from orchestrator.data.records.record import ExcludedRecord, RecordError, shown, text
from orchestrator.data.records.tracked import (
    ROLE,
    TrackedRecord,
    carries_meaning,
    untrained_mark,
    with_marks,
)


class Conversation(NamedTuple):
    """Holds what was read of a list of turns, under the names of an `Instance`."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...] = ()
    unlearned: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def instance(self, id: str, task: str) -> Instance:
        return Instance(id, task, *self)


def conversation_of(record: TrackedRecord, turns: Any, max_turns: int) -> Conversation:
    """Makes the conversation of a record's turns, with the system message and the lists of marks
    that the record keeps in columns beside them.

    Raises:
        RecordError, ExcludedRecord: as `conversation`.
    """
    return conversation(with_marks(record, turns), max_turns, _system_beside(record, turns))


def conversation(turns: Any, max_turns: int, system: str = "") -> Conversation:
    """Makes alternating user and assistant messages, with notes on what was changed to get them.

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
        ExcludedRecord: every answer is marked not to be trained on.
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
        raise ExcludedRecord(f"marked {spoken[1].mark}")
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


def _system_beside(record: TrackedRecord, turns: Any) -> str:
    """Returns the system message that a record keeps in a column beside its turns; "" for none.

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
    """Reads role and text of a message; an empty system message has the text ""."""
    if not isinstance(turn, dict):
        raise RecordError("a message is not an object", f"message {number} is {shown(turn)}")
    turn = TrackedRecord(turn)
    keys = ("from", "value") if "from" in turn else ("role", "content")
    name, said = (turn.get(key) for key in keys)
    role = ROLE.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise RecordError("unknown role", f"message {number} is of {shown(name)}")
    mark = untrained_mark(turn)
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
    """Joins the text of a message that is given as [{"type": "text", "text": ...}, ...], and
    returns beside it what else the parts hold."""
    texts: list[str] = []
    left: dict[str, Any] = {}
    for given in parts:
        part = TrackedRecord(given if isinstance(given, dict) else {"text": given})
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
