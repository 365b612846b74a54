"""One turn of a conversation, as it is read: who speaks, what is said, and what else it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from orchestrator.data.instance import Role
from orchestrator.data.records.record import RecordError, shown, text
from orchestrator.data.records.tracked import ROLE, TrackedRecord, untrained_mark

CALLS = ("tool_calls", "function_call")  # keys of an assistant's message beside its text
SAID = {"user": "prompt", "assistant": "answer", "system": "system message", "tool": "tool result"}


class Turn(NamedTuple):
    """A message as it was read.

    Attributes:
        role: who speaks; `assistant` of a tool call, too.
        text: what is said; "" of an empty system message alone.
        mark: what says "do not train", as `weight: 0`; "" for nothing.
        call: it is or holds a tool call.
        joined: its text was given in parts.
        left: what else it holds.
    """

    role: Role
    text: str
    mark: str = ""
    call: bool = False
    joined: bool = False
    left: Mapping[str, Any] = MappingProxyType({})


def role_of(turn: Any) -> str | None:
    """Returns the role of a message: those of `ROLE`; None for an unknown one."""
    if not isinstance(turn, dict):
        return None
    name = turn.get("from" if "from" in turn else "role")
    return ROLE.get(name.lower()) if isinstance(name, str) else None


def turn_of(given: Any, number: int, *, tools: bool) -> Turn:
    """Reads a message, {"role", "content"} or {"from", "value"}.

    Args:
        given: a value of a record.
        number: of the message in its record, from 1.
        tools: whether tool turns and calls are read; a call without text is written as JSON.

    Raises:
        RecordError: no message, an unknown role, a tool turn that is not to be read, or text that
            `text` refuses.
    """
    if not isinstance(given, dict):
        raise RecordError("a message is not an object", f"message {number} is {shown(given)}")
    turn = TrackedRecord(given)
    name, said = (
        turn.get(key) for key in (("from", "value") if "from" in turn else ("role", "content"))
    )
    role = role_of(given)
    if role is None:
        raise RecordError("unknown role", f"message {number} is of {shown(name)}")
    if role in ("tool", "call") and not tools:
        raise RecordError(
            "a tool turn",
            f"message {number} is of {shown(name)}: set roles: all on the source to keep it",
        )
    mark = untrained_mark(turn)
    if role == "system" and (said is None or said == ""):
        return Turn("system", "", mark, left=turn.unread())
    calls = [key for key in CALLS if turn.unread().get(key)]
    if calls and not said and not tools:
        raise RecordError(
            "a message is a tool call without text",
            f"message {number}: {calls[0]}: set roles: all on the source to keep it",
        )
    joined, left = isinstance(said, list), dict[str, Any]()
    if joined:
        said, left = _whole(said, number)
    if calls and tools:
        written = "\n".join(json.dumps(turn[key], ensure_ascii=False) for key in calls)
        said = f"{said}\n{written}" if said else written
    spoken = cast("Role", "assistant" if role == "call" else role)
    called = role == "call" or bool(calls and tools)
    return Turn(spoken, text(said, SAID[spoken]), mark, called, joined, turn.unread() | left)


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
