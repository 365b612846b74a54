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

from orchestrator.data.instance import Message, answer_places
from orchestrator.errors import DataError
from orchestrator.training.marks import end_marks
from orchestrator.training.refusals import (
    CALLED,
    Turn,
    instead,
    refusal,
    rewritten,
    shown,
)
from orchestrator.training.spans import message_spans, parting

# Some chat templates print today's date, but a study's tokens must not depend on the day it runs.
# This takes the place of the function they call, with the day that Llama 3's falls back to.
FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"


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
        self._frames: dict[tuple[Turn, ...], Frame | DataError] = {}
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
            written = self._write(turns := _turns(messages))
        except Exception as error:  # whatever a template does
            raise refusal(error, turns) from error
        frame = self.frame(messages)
        places = message_spans(written, frame.gaps, messages)
        if places is None:
            raise rewritten(written, frame.gaps, messages)
        spans, reshaped = places
        answers = [
            (spans[place][0] - opening, spans[place][1] + ending)
            for place, opening, ending in zip(
                answer_places(messages), frame.openings, frame.endings, strict=True
            )
        ]
        return WrittenConversation(written, spans, answers, all(frame.ended), reshaped)

    def _frame(self, stand_ins: tuple[Turn, ...]) -> Frame | DataError:
        if stand_ins not in self._frames:
            try:
                self._frames[stand_ins] = self._make_frame(stand_ins)
            except DataError as error:
                self._frames[stand_ins] = error
            except Exception as error:  # whatever a template does
                self._frames[stand_ins] = refusal(error, stand_ins)
        return self._frames[stand_ins]

    def _make_frame(self, stand_ins: tuple[Turn, ...]) -> Frame:
        written = self._write(stand_ins)
        gaps = _split(written, stand_ins)
        self._check_told_apart(written, stand_ins)
        openings, endings, ended, opens_with = [], [], [], ""
        for place in (place for place, (role, _) in enumerate(stand_ins) if role == "assistant"):
            before, behind = gaps[place], gaps[place + 1]
            asked, word = stand_ins[place - 1][1], stand_ins[place][1]
            prompt = self._write(stand_ins[:place], opened=True).rpartition(asked)[2]
            blank = before.startswith(prompt) and not before[len(prompt) :].strip()
            openings.append(len(before) - len(prompt) if blank else 0)
            if prompt.startswith(before):
                opens_with = prompt[len(before) :].strip()
            closed = self._write(stand_ins[: place + 1]).rpartition(word)[2]
            end = end_marks(closed, behind, self._tokenizer)
            ended.append(end > 0)
            endings.append(end or parting(closed.rstrip(), behind))
        return Frame(gaps, openings, endings, ended, opens_with)

    def _check_told_apart(self, written: str, stand_ins: tuple[Turn, ...]) -> None:
        """Refuse a template that writes a system or tool turn as one of the user or assistant.

        Raises:
            DataError: naming the first such turn.
        """
        for place, (role, word) in enumerate(stand_ins):
            for other in () if role in ("user", "assistant") else ("user", "assistant"):
                try:
                    same = written == self._write(
                        (*stand_ins[:place], (other, word), *stand_ins[place + 1 :])
                    )
                except Exception:  # it refuses the other role there, so it tells them apart
                    same = False
                if same:
                    raise DataError(
                        f"this model's chat template has no place for the {CALLED[role]} of "
                        f"message {place + 1} of {len(stand_ins)}: it writes it as one of the "
                        f"{other}. {instead(stand_ins)}"
                    )

    def _write(self, turns: Sequence[Turn], *, opened: bool = False) -> str:
        return self._tokenizer.apply_chat_template(
            [
                {
                    "role": role,
                    "content": [{"type": "text", "text": text}] if self._in_parts else text,
                }
                for role, text in turns
            ],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=opened,
        )


def _turns(messages: Sequence[Message]) -> tuple[Turn, ...]:
    return tuple((message["role"], message["content"]) for message in messages)


def _stand_ins(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """Words in the place of messages, alike to them where templates look: at reasoning."""
    return tuple(
        (role, f"<think>\nReasonOf{place}Told\n</think>\n\nWordOf{place}Told")
        if role == "assistant" and "</think>" in text
        else (role, f"WordOf{place}Told")
        for place, (role, text) in enumerate(_turns(messages))
    )


def _split(written: str, stand_ins: tuple[Turn, ...]) -> list[str]:
    """The text around the stand-ins.

    Raises:
        DataError: one is missing, stands there twice, or behind one that follows it.
    """
    gaps, at = [], 0
    for place, (role, word) in enumerate(stand_ins):
        count = written.count(word)
        begin = written.find(word, at)
        if count != 1 or begin < 0:
            does = "moves" if count == 1 else "repeats" if count else "leaves out or rewrites"
            reasoned = " with its reasoning" if word.startswith("<") else ""
            raise DataError(
                f"this model's chat template {does} the {CALLED[role]}{reasoned} of message "
                f"{place + 1} of {len(stand_ins)}: of {word!r} it writes {shown(written, at)}. "
                f"{instead(stand_ins)}"
            )
        gaps.append(written[at:begin])
        at = begin + len(word)
    return [*gaps, written[at:]]
