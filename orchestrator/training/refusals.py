"""What is said of a conversation that a template cannot write, and what to type instead."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from jinja2 import TemplateError

from orchestrator.data.instance import Message
from orchestrator.errors import DataError
from orchestrator.training.spans import message_ends

SHOWN = 80  # characters of each of two texts that differ
CALLED = {"user": "prompt", "assistant": "answer", "system": "system turn", "tool": "tool turn"}
SPEAKERS = {"user", "assistant"}  # whose turns every template has a place for

Turn = tuple[str, str]  # role and text


def no_place(template: str, messages: Sequence[Message]) -> DataError | None:
    """Returns the error of a template that holds prompts and answers alone; None where the
    conversation has no other turns.

    Args:
        template: as in the study file.
    """
    roles = {message["role"] for message in messages}
    if roles <= SPEAKERS:
        return None
    place, first = next(
        (place, each) for place, each in enumerate(messages, 1) if each["role"] not in SPEAKERS
    )
    return DataError(
        f"template: {template} has no place for the {CALLED[first['role']]} of message {place} of "
        f"{len(messages)}, {shown(first['content'])}. {context_advice(roles)}"
    )


def context_advice(roles: Collection[str]) -> str:
    """Says what to do about turns that a template has no place for.

    Args:
        roles: of the turns of a conversation.
    """
    if "tool" in roles:
        return (
            "Take template: chat with a model whose chat template has one for tool turns, or leave "
            "such records out, with roles: pairs and bad_records: skip on the source"
        )
    return (
        "Take template: chat with a model whose chat template has one, or set roles: pairs on the "
        "source, which puts a leading system message before the prompt"
    )


def instead(turns: Sequence[Turn]) -> str:
    """Returns what to type instead of a chat template that cannot hold a conversation."""
    roles = {role for role, _ in turns}
    if not roles <= SPEAKERS:
        return context_advice(roles)
    alone = "Set max_turns: 1 on the sources, or " if len(turns) > 2 else "Type "
    return f"{alone}template: user_assistant, or a text with {{prompt}} and {{answer}}"


def rewritten(written: str, gaps: list[str], messages: Sequence[Message]) -> DataError:
    """Returns the error of the first message that is not in its place, with both texts."""
    at = 0
    for place, message in enumerate(messages):
        at += len(gaps[place])
        end = next((end for end, _ in message_ends(written, at, message["content"])), None)
        if end is None or not written.startswith(gaps[place + 1], end):
            break
        at = end
    plain = {each["role"] for each in messages} <= SPEAKERS
    other = "type template: user_assistant, or a text with {prompt} and {answer}"
    return DataError(
        f"this model's chat template changes the {CALLED[message['role']]} of message {place + 1}. "
        f"The data: {shown(message['content'])}; the model would be fed: {shown(written, at)}. "
        f"Mend the text, or {other if plain else 'take a model whose chat template keeps it'}"
    )


def refusal(error: Exception, turns: Sequence[Turn]) -> DataError:
    """Returns the error of a chat template that raised one, whatever it is."""
    reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    roles = dict.fromkeys(role for role, _ in turns if role not in SPEAKERS)
    with_turns = f" with turns of {' and '.join(roles)}" if roles else ""
    advice = context_advice(roles) if roles else "Type template: user_assistant"
    return DataError(
        f"the model's chat template refuses a conversation{with_turns} ({reason}) that begins with "
        f"{turns[0][1][:SHOWN]!r}. {advice}"
    )


def shown(text: str, at: int = 0) -> str:
    """Writes some characters of a text from a place on."""
    return repr(text[at : at + SHOWN] + ("..." if len(text) > at + SHOWN else ""))
