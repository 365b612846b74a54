"""What every reader produces: instances, each a conversation of a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

UNLABELLED = "unlabelled"  # the task of every instance of a source that has no tasks
FURTHER_ANSWERS = "further outputs left off"  # the note of an instance that has references


Role = Literal["user", "assistant", "system", "tool"]


class Message(TypedDict):
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One conversation of a task.

    Attributes:
        id: unique in its source, stable between runs.
        task: the task it belongs to, or `UNLABELLED`.
        messages: alternating user and assistant, at least one pair; between them system and tool
            turns, where the source keeps them (`roles: all`). The last is the assistant's.
        notes: what was changed to get there, in phrases that can be counted.
        unlearned: positions in `messages` of answers that are read and not learned, rising.
        unread: columns and message keys that nothing read and that carry meaning.
        metadata: the same of those that only describe the record.
        references: texts any of which is a right answer, the answer itself first; empty where there
            is no other.
    """

    id: str
    task: str
    messages: tuple[Message, ...]
    notes: tuple[str, ...] = ()
    unlearned: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


def single_turn(id: str, task: str, prompt: str, answer: str) -> Instance:
    """Makes an instance of one prompt and one answer."""
    return Instance(
        id,
        task,
        ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer}),
    )


def with_references(instance: Instance, others: Iterable[str]) -> Instance:
    """Adds further right answers to an instance; those that say nothing new are left out.

    The first is what the instance learns first: a call of a tool before it is no answer.
    """
    learned = set(answer_places(instance.messages)).difference(instance.unlearned)
    if not learned:
        return instance
    answer = instance.messages[min(learned)]["content"]
    references = tuple(dict.fromkeys((answer, *others)))
    return replace(instance, references=references) if len(references) > 1 else instance


def answer_places(messages: Sequence[Message]) -> list[int]:
    """Returns the positions of the assistant's messages, rising."""
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def opening_text(messages: Sequence[Message]) -> str:
    """Returns what stands before the first answer: the prompt, with a blank line behind each system
    message before it."""
    return "\n\n".join(message["content"] for message in messages[: answer_places(messages)[0]])
