"""Reads a list of turns as the messages of a conversation.

What a model reads and what it learns hang on who speaks: roles have to follow one another as they
do in a conversation, and what does not is refused rather than mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.data.instance import Instance, Message
from orchestrator.data.records.record import ExcludedRecord, RecordError, shown, text
from orchestrator.data.records.tracked import ROLE, TrackedRecord, carries_meaning, with_marks
from orchestrator.data.records.turns import Turn, role_of, turn_of

SYSTEM_IN_PROMPT = "system message put before the prompt"
CALL_UNLEARNED = "tool call kept without loss"
# Who may speak behind whom; system turns are passed over, None is the beginning.
NEXT: dict[str | None, tuple[str, ...]] = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


class Conversation(NamedTuple):
    """Holds what was read of a list of turns, under the names of an `Instance`."""

    messages: tuple[Message, ...]
    notes: tuple[str, ...] = ()
    unlearned: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()

    def instance(self, id: str, task: str) -> Instance:
        return Instance(id, task, *self)


def conversation_of(
    record: TrackedRecord, turns: Any, max_turns: int, roles: str = "pairs"
) -> Conversation:
    """Makes the conversation of a record's turns, with the system message and the lists of marks
    that the record keeps in columns beside them.

    Raises:
        RecordError, ExcludedRecord: as `conversation`.
    """
    system = _system_beside(record, turns)
    return conversation(with_marks(record, turns), max_turns, system, roles)


def conversation(
    turns: Any, max_turns: int, system: str = "", roles: str = "pairs"
) -> Conversation:
    """Makes the messages of a conversation, with notes on what was changed to get them.

    Messages are {"role", "content"} or {"from", "value"}, whose text may be given in parts, or
    texts alone, of user and assistant in turn. What stands behind the last answer is left off. An
    answer that is marked not to be trained on stays, unlearned.

    Args:
        turns: a value of a record.
        max_turns: exchanges that are kept, each from a prompt to its answer; what follows them is
            not looked at.
        system: a system message that stands beside the turns; "" for none.
        roles: `pairs`: user and assistant alternate, and a leading system message goes before the
            first prompt with a blank line between; `all`: system turns stay where they are, and
            tool turns between the call and the answer; a call is an answer that is not learned.

    Raises:
        RecordError: no list of messages, an unknown role, text that `text` refuses, roles that
            do not follow one another, or no answer.
        ExcludedRecord: every answer is a tool call, or marked not to be trained on.
    """
    if not isinstance(turns, list) or not turns:
        raise RecordError("no messages", f"{shown(turns)} instead of a list of messages")
    if all(isinstance(turn, str) for turn in turns):
        names = ("user", "assistant")
        turns = [{"role": names[i % 2], "content": turn} for i, turn in enumerate(turns)]
    spoken = _spoken(turns, max_turns, tools=roles == "all")
    notes = ["turns beyond max_turns left off"] if len(spoken) < len(turns) else []
    answered = [place for place, turn in enumerate(spoken, start=1) if turn.role == "assistant"]
    if not answered:
        raise RecordError("answer is missing")
    behind, spoken = spoken[answered[-1] :], spoken[: answered[-1]]
    if behind:
        asked = any(turn.role == "user" for turn in behind)
        notes.append(f"last {'prompt' if asked else 'turn'} without answer left off")
    begins = spoken[0].text if spoken[0].role == "system" else ""
    said = [turn for turn in spoken if turn.text]  # without empty system messages
    if not begins and system:
        said.insert(0, Turn("system", system))
    in_prompt = roles == "pairs" and said[0].role == "system"
    if in_prompt:
        first, prompt, *others = said
        said = [prompt._replace(text=f"{first.text}\n\n{prompt.text}"), *others]
    unlearned = _unlearned(said)
    notes += _notes(said, unlearned)
    if in_prompt:
        notes.append(SYSTEM_IN_PROMPT)
    left = [item for turn in spoken for item in turn.left.items()]
    matters = {f"messages.{key}": _matters(key, value) for key, value in left}
    return Conversation(
        tuple(Message(role=turn.role, content=turn.text) for turn in said),
        tuple(notes),
        unlearned,
        tuple(name for name, means in matters.items() if means),
        tuple(name for name, means in matters.items() if not means),
    )


def _spoken(turns: Sequence[Any], max_turns: int, *, tools: bool) -> list[Turn]:
    """Reads the turns up to the end of the last exchange that is kept."""
    spoken: list[Turn] = []
    exchanges, last = 0, None
    for number, given in enumerate(turns, start=1):
        ended = exchanges == max_turns and last == "assistant"
        if ended and not (tools and role_of(given) == "tool"):
            break
        turn = turn_of(given, number, tools=tools)
        spoken.append(turn)
        if turn.role == "system" and (tools or number == 1):
            continue
        if turn.role not in NEXT[last]:
            expected = " or ".join(NEXT[last] if tools else NEXT[last][:1])
            detail = f"message {number} is of the {turn.role}, where the {expected} is next"
            raise RecordError("roles do not alternate", detail)
        last = turn.role
        exchanges += last == "user"
    return spoken


def _unlearned(spoken: Sequence[Turn]) -> tuple[int, ...]:
    """Returns the places of answers that carry no loss.

    Raises:
        ExcludedRecord: there are no others.
    """
    answers = [place for place, turn in enumerate(spoken) if turn.role == "assistant"]
    unlearned = tuple(place for place in answers if spoken[place].mark or spoken[place].call)
    if len(unlearned) == len(answers):
        mark = spoken[answers[0]].mark
        raise ExcludedRecord(f"marked {mark}" if mark else "no answer but tool calls")
    return unlearned


def _notes(spoken: Sequence[Turn], unlearned: Sequence[int]) -> list[str]:
    """Returns what was changed in turns that are kept."""
    notes = [
        f"answer marked {mark} not learned" if (mark := spoken[place].mark) else CALL_UNLEARNED
        for place in unlearned
    ]
    if any(turn.joined for turn in spoken):
        notes.append("parts of a message joined")
    return notes


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


def _matters(key: str, value: Any) -> bool:
    name = key.rpartition(".")[2]
    # Of a message, a number or a switch of unknown name may be a mark, too.
    return carries_meaning(name, "") or carries_meaning(name, value)
