"""Conversations as the text that a model reads, with the places that it learns.

Three kinds of template (`model.template`):

- `user_assistant`, the authors' (paper arXiv 2406.11721): "User: {prompt}\\nAssistant: {answer}";
- a text of the user's with {prompt} and {answer}, once each;
- `chat`, the tokenizer's own template, for models that were tuned with it.

The first two write each pair apart, between the model's begin and end marks. `chat` writes the
whole conversation and all its marks. Not for base models that never saw a chat template: its
marks are tokens that they cannot read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jinja2 import TemplateError

from orchestrator.data.instance import Message
from orchestrator.errors import DataError, ModelError

USER_ASSISTANT = "User: {prompt}\nAssistant: {answer}"

# Some chat templates print today's date, but a study's tokens must not depend on the day it runs.
# This takes the place of the function they call, with the day that Llama 3's falls back to.
FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"


class Piece(NamedTuple):
    """Text that is tokenised in one go.

    Attributes:
        text: what the model reads.
        answers: (begin, end) of the characters that carry loss, in rising order.
    """

    text: str
    answers: list[tuple[int, int]]


class Template(NamedTuple):
    """How conversations are written.

    Attributes:
        pieces: messages -> the pieces of the conversation.
        marked: the model's begin mark goes before the first piece, and its end mark, which is
            learned, after each.
    """

    pieces: Callable[[Sequence[Message]], list[Piece]]
    marked: bool


def make_template(name: str, tokenizer: Any) -> Template:
    """The template of a name, for a tokenizer.

    Args:
        name: `user_assistant`, `chat`, or a text with {prompt} before {answer}.
        tokenizer: a fast Hugging Face tokenizer.

    Raises:
        ModelError: the tokenizer has no chat template, or no end mark.
    """
    if name == "chat":
        if not tokenizer.chat_template:
            raise ModelError(
                "model.template: chat, but this model's tokenizer has no chat template. Type "
                "template: user_assistant, or a text with {prompt} and {answer}"
            )
        chat_template = FIXED_DATE + tokenizer.get_chat_template()
        return Template(lambda messages: [_chat(messages, tokenizer, chat_template)], marked=False)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "this model's tokenizer has no end-of-text token (eos_token), so a model cannot learn "
            "where an answer ends: set one in tokenizer_config.json, or type template: chat"
        )
    before, rest = _text(name).split("{prompt}")
    between, after = rest.split("{answer}")
    return Template(lambda messages: _pairs(messages, before, between, after), marked=True)


def text_after_answer(name: str) -> str:
    """What a template writes behind each answer, stripped; an answer that was generated ends there.

    Args:
        name: as in `make_template`; `chat` ends its answers by a token instead.
    """
    return "" if name == "chat" else _text(name).partition("{answer}")[2].strip()


def _text(name: str) -> str:
    return USER_ASSISTANT if name == "user_assistant" else name


def _pairs(messages: Sequence[Message], before: str, between: str, after: str) -> list[Piece]:
    pieces = []
    for user, assistant in zip(messages[::2], messages[1::2], strict=True):
        head = f"{before}{user['content']}{between}"
        text = f"{head}{assistant['content']}{after}"
        # What follows the answer is learned too: the model has to write it to reach its end mark.
        pieces.append(Piece(text, [(len(head), len(text))]))
    return pieces


def _chat(messages: Sequence[Message], tokenizer: Any, chat_template: str) -> Piece:
    """The whole conversation; an answer reaches from its turn's opening to its end mark.

    Both are found by writing the conversation up to there.
    """

    def written(end: int, *, opened: bool = False) -> str:
        return tokenizer.apply_chat_template(
            list(messages[:end]),
            chat_template=chat_template,
            tokenize=False,
            add_generation_prompt=opened,
        )

    try:
        text = written(len(messages))
        answers = []
        for turn in range(1, len(messages), 2):
            opening, closed = written(turn, opened=True), written(turn + 1)
            if not (closed.startswith(opening) and text.startswith(closed)):
                raise DataError(
                    "model.template: chat, but this model's chat template writes earlier turns "
                    "differently once later ones follow, so that its answers cannot be found. "
                    "Set max_turns: 1 on the sources, or template: user_assistant"
                )
            # The line break behind an end mark belongs to the template, not to the answer.
            answers.append((len(opening), len(closed.rstrip())))
    except TemplateError as error:
        raise DataError(
            f"the model's chat template refuses a conversation ({error}) that begins with "
            f"{messages[0]['content'][:80]!r}. Type template: user_assistant"
        ) from error
    return Piece(text, answers)
