"""Conversations as the text that a model reads, with the places that it learns.

Three kinds of template (`model.template`):

- `user_assistant`, the authors' (paper arXiv 2406.11721): "User: {prompt}\\nAssistant: {answer}";
- a text of the user's with {prompt} and {answer}, once each;
- `chat`, the tokenizer's own template, for models that were tuned with it.

The first two write each pair apart, between the model's begin and end marks, and have no place for
system and tool turns. `chat` writes the whole conversation and all its marks. Not for base models
that never saw a chat template: its marks are tokens that they cannot read yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.data.instance import Message
from orchestrator.errors import DataError, ModelError
from orchestrator.training.chat import ChatTemplate
from orchestrator.training.marks import special_ids
from orchestrator.training.refusals import no_place

USER_ASSISTANT = "User: {prompt}\nAssistant: {answer}"


class Piece(NamedTuple):
    """Text that is tokenised in one go.

    Attributes:
        text: what the model reads.
        answers: (begin, end) of the characters that carry loss, in rising order.
        messages: (begin, end) of the text of each message, in their order.
        ended: whether a token that ends an answer stands behind each, or will be put there.
        reshaped: the template changed white space at the ends of a message.
    """

    text: str
    answers: list[tuple[int, int]]
    messages: list[tuple[int, int]]
    ended: bool = True
    reshaped: bool = False


class Template(NamedTuple):
    """How the conversations of a study are written as text for the model.

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
        ModelError: the tokenizer has no chat template, or no end mark; or a text holds the marks
            that are put around it.
    """
    if name == "chat":
        if not tokenizer.chat_template:
            raise ModelError(
                "model.template: chat, but this model's tokenizer has no chat template. Type "
                "template: user_assistant, or a text with {prompt} and {answer}"
            )
        chat = ChatTemplate(tokenizer)
        return Template(lambda messages: [_chat(messages, chat)], marked=False)
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "this model's tokenizer has no end-of-text token (eos_token), so a model cannot learn "
            "where an answer ends: set one in tokenizer_config.json, or type template: chat"
        )
    before, rest = _text(name).split("{prompt}")
    between, after = rest.split("{answer}")
    begin, end = tokenizer.bos_token, tokenizer.eos_token
    twice = [repr(begin)] if begin and before.lstrip().startswith(begin) else []
    twice += [repr(end)] if after.rstrip().endswith(end) else []
    if twice:
        raise ModelError(
            f"model.template: {name!r} writes {' and '.join(twice)}, which would stand there "
            "twice: leave them out, begin and end marks of the model are put there"
        )
    return Template(lambda messages: _pairs(messages, name, (before, between, after)), marked=True)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder; code that comes with it is not run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def check_template(name: str, tokenizer: Any) -> str:
    """Refuse a template under which no answer can be learned, before there is any data.

    Args:
        name: as in `make_template`.
        tokenizer: a fast Hugging Face tokenizer.

    Returns:
        What a user should know of it, in a sentence; "" for nothing.

    Raises:
        ModelError: as `make_template`; or a chat template that leaves out, moves or rewrites a
            message, or ends no answer.
    """
    make_template(name, tokenizer)
    if name != "chat":
        return ""
    chat = ChatTemplate(tokenizer)
    pair = (Message(role="user", content="question"), Message(role="assistant", content="reply"))
    try:
        frame = chat.frame(pair)
    except DataError as error:
        raise ModelError(f"model.template: chat: {error}") from error
    if not all(frame.ended):
        raise ModelError(f"model.template: chat: {endless(tokenizer, frame.gaps[-1])}")
    if frame.opens_with:
        return (
            f"the chat template opens a generated answer with {frame.opens_with!r}, which the "
            "answers of the data do not begin with: they are learned without it"
        )
    return ""


def endless(tokenizer: Any, behind: str) -> str:
    """What is wrong with a chat template that ends no answer, and what to type instead.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        behind: what the template writes behind the last answer.
    """
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    plain = set(ids) & (tokenizer.added_tokens_decoder.keys() - special_ids(tokenizer))
    names = (tokenizer.added_tokens_decoder[id].content for id in ids if id in plain)
    if mark := next((name for name in names if name.strip()), ""):
        return (
            f"this model's chat template writes {mark!r} behind an answer, which the tokenizer has "
            "as a token but not as a special one, so that a generated answer would not stop at "
            f'it: mark it special in tokenizer.json ("special": true, for {mark!r} under '
            "added_tokens) and in tokenizer_config.json, or type template: user_assistant"
        )
    eos = tokenizer.eos_token
    mark = f"(eos_token {eos!r})" if eos else "(it has no eos_token either: set one)"
    return (
        "this model's chat template writes no special token behind an answer, so that a model "
        f"would learn no end, and its answers would never stop {mark}. Put {{{{ eos_token }}}} "
        "behind the assistant's content in the chat template, or type template: user_assistant, "
        "which ends every answer with it"
    )


def text_after_answer(name: str) -> str:
    """What a template writes behind each answer, stripped; an answer that was generated ends there.

    Args:
        name: as in `make_template`; `chat` ends its answers by a token instead.
    """
    return "" if name == "chat" else _text(name).partition("{answer}")[2].strip()


def _text(name: str) -> str:
    return USER_ASSISTANT if name == "user_assistant" else name


def _pairs(messages: Sequence[Message], name: str, parts: tuple[str, str, str]) -> list[Piece]:
    """A piece of each prompt and answer.

    Raises:
        DataError: there are other turns.
    """
    if fault := no_place(name, messages):
        raise fault
    before, between, after = parts
    pieces = []
    for user, assistant in zip(messages[::2], messages[1::2], strict=True):
        head = f"{before}{user['content']}{between}"
        text = f"{head}{assistant['content']}{after}"
        # What follows the answer is learned too: the model has to write it to reach its end mark.
        said = (len(before), len(before) + len(user["content"]))
        answered = (len(head), len(head) + len(assistant["content"]))
        pieces.append(Piece(text, [(len(head), len(text))], [said, answered]))
    return pieces


def _chat(messages: Sequence[Message], chat: ChatTemplate) -> Piece:
    placed = chat.place(messages)
    return Piece(placed.text, placed.answers, placed.messages, placed.ended, placed.reshaped)
