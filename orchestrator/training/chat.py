"""Where each message of a conversation stands in what a chat template writes of it.

A chat template is a program: it may trim a message, drop it, move it, write it twice, or leave out
the reasoning before an answer. So it is asked twice. What it writes of stand-ins, short words that
no template looks at, is its frame: the text around the messages. What it writes of the messages
has to be that frame with each message in its place. Only then is it known what a model would read,
and which part of it is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from orchestrator.data.instance import Message
from orchestrator.errors import DataError
from orchestrator.training.marks import end_marks
from orchestrator.training.spans import message_ends, message_spans, parting

# Some chat templates print today's date, but a study's tokens must not depend on the day it runs.
# This takes the place of the function they call, with the day that Llama 3's falls back to.
FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"
SHOWN = 80  # characters of each of two texts that differ


class Frame(NamedTuple):
    """What a template writes around the messages of a conversation.

    Attributes:
        gaps: the text before the first message, between them, and behind the last.
        openings: for each answer, how much of the end of the gap before it is learned with it:
            white space that the generation prompt does not write.
        endings: for each answer, how much of the gap behind it is learned: up to its end mark.
        ended: for each answer, whether a token that ends it stands there.
        opens_with: what the generation prompt writes beyond the opening of an answer, as `<think>`.
    """

    gaps: list[str]
    openings: list[int]
    endings: list[int]
    ended: list[bool]
    opens_with: str


class WrittenConversation(NamedTuple):
    """A conversation as its template writes it.

    Attributes:
        text: all of it.
        messages: (begin, end) of each message's text in it.
        answers: (begin, end) of what is learned for each answer.
        ended: whether a token that ends an answer stands behind each.
        reshaped: the template changed white space of a message.
    """

    text: str
    messages: list[tuple[int, int]]
    answers: list[tuple[int, int]]
    ended: bool
    reshaped: bool


class ChatTemplate:
    """The chat template of a tokenizer, and the frames that it gave so far."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._template = FIXED_DATE + tokenizer.get_chat_template()
        self._frames: dict[tuple[str, ...], Frame | DataError] = {}
        self._in_parts = False
        plain = _stand_ins(
            [Message(role="user", content=""), Message(role="assistant", content="")]
        )
        if isinstance(self._frame(plain), DataError):
            # Templates of models that also see images take text in parts, and drop it otherwise.
            self._in_parts, self._frames = True, {}
            if isinstance(self._frame(plain), DataError):
                self._in_parts, self._frames = False, {}

    def frame(self, messages: Sequence[Message]) -> Frame:
        """The frame of conversations like this one.

        Raises:
            DataError: the template drops, moves or repeats a message.
        """
        stand_ins = _stand_ins(messages)
        frame = self._frame(stand_ins)
        if isinstance(frame, DataError):
            raise DataError(*frame.args)  # anew: an error collects the places where it is raised
        return frame

    def place(self, messages: Sequence[Message]) -> WrittenConversation:
        """A conversation as it is written, and where its messages and answers stand.

        Raises:
            DataError: the template refuses the conversation, or a message is not in its place.
        """
        try:
            written = self._write([message["content"] for message in messages])
        except Exception as error:  # whatever a template does
            raise _refusal(error, messages[0]["content"]) from error
        frame = self.frame(messages)
        places = message_spans(written, frame.gaps, messages)
        if places is None:
            raise _rewritten(written, frame.gaps, messages)
        spans, reshaped = places
        answers = [
            (spans[place][0] - opening, spans[place][1] + ending)
            for place, opening, ending in zip(
                range(1, len(messages), 2), frame.openings, frame.endings, strict=True
            )
        ]
        return WrittenConversation(written, spans, answers, all(frame.ended), reshaped)

    def _frame(self, stand_ins: tuple[str, ...]) -> Frame | DataError:
        if stand_ins not in self._frames:
            try:
                self._frames[stand_ins] = self._make_frame(stand_ins)
            except DataError as error:
                self._frames[stand_ins] = error
            except Exception as error:  # whatever a template does
                self._frames[stand_ins] = _refusal(error, stand_ins[0])
        return self._frames[stand_ins]

    def _make_frame(self, stand_ins: tuple[str, ...]) -> Frame:
        written = self._write(stand_ins)
        gaps = _split(written, stand_ins)
        openings, endings, ended, opens_with = [], [], [], ""
        for place in range(1, len(stand_ins), 2):
            before, behind = gaps[place], gaps[place + 1]
            prompt = self._write(stand_ins[:place], opened=True).rpartition(stand_ins[place - 1])[2]
            blank = before.startswith(prompt) and not before[len(prompt) :].strip()
            openings.append(len(before) - len(prompt) if blank else 0)
            if prompt.startswith(before):
                opens_with = prompt[len(before) :].strip()
            closed = self._write(stand_ins[: place + 1]).rpartition(stand_ins[place])[2]
            end = end_marks(closed, behind, self._tokenizer)
            ended.append(end > 0)
            endings.append(end or parting(closed.rstrip(), behind))
        return Frame(gaps, openings, endings, ended, opens_with)

    def _write(self, texts: Sequence[str], *, opened: bool = False) -> str:
        return self._tokenizer.apply_chat_template(
            [
                {
                    "role": ("user", "assistant")[place % 2],
                    "content": [{"type": "text", "text": text}] if self._in_parts else text,
                }
                for place, text in enumerate(texts)
            ],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=opened,
        )


def _stand_ins(messages: Sequence[Message]) -> tuple[str, ...]:
    """Words in the place of messages, alike to them where templates look: at reasoning."""
    return tuple(
        f"<think>\nReasonOf{place}Told\n</think>\n\nWordOf{place}Told"
        if place % 2 and "</think>" in message["content"]
        else f"WordOf{place}Told"
        for place, message in enumerate(messages)
    )


def _split(written: str, stand_ins: tuple[str, ...]) -> list[str]:
    """The text around the stand-ins.

    Raises:
        DataError: one is missing, stands there twice, or behind one that follows it.
    """
    alone = "Set max_turns: 1 on the sources, or " if len(stand_ins) > 2 else "Type "
    gaps, at = [], 0
    for place, word in enumerate(stand_ins):
        count = written.count(word)
        begin = written.find(word, at)
        if count != 1 or begin < 0:
            what = ("prompt", "answer")[place % 2]
            does = "moves" if count == 1 else "repeats" if count else "leaves out or rewrites"
            reasoned = " with its reasoning" if word.startswith("<") else ""
            raise DataError(
                f"this model's chat template {does} the {what}{reasoned} of message {place + 1} of "
                f"{len(stand_ins)}: of {word!r} it writes {_shown(written, at)}. "
                f"{alone}template: user_assistant, or a text with {{prompt}} and {{answer}}"
            )
        gaps.append(written[at:begin])
        at = begin + len(word)
    return [*gaps, written[at:]]


def _rewritten(written: str, gaps: list[str], messages: Sequence[Message]) -> DataError:
    """The first message that is not in its place, with both texts."""
    at = 0
    for place, message in enumerate(messages):
        at += len(gaps[place])
        end = next((end for end, _ in message_ends(written, at, message["content"])), None)
        if end is None or not written.startswith(gaps[place + 1], end):
            break
        at = end
    what = ("prompt", "answer")[place % 2]
    return DataError(
        f"this model's chat template changes the {what} of message {place + 1}. The data: "
        f"{_shown(message['content'])}; the model would be fed: {_shown(written, at)}. "
        "Mend the text, or type template: user_assistant, or a text with {prompt} and {answer}"
    )


def _refusal(error: Exception, begins: str) -> DataError:
    reason = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return DataError(
        f"the model's chat template refuses a conversation ({reason}) that begins with "
        f"{begins[:SHOWN]!r}. Type template: user_assistant"
    )


def _shown(text: str, at: int = 0) -> str:
    return repr(text[at : at + SHOWN] + ("..." if len(text) > at + SHOWN else ""))
