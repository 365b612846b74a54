"""Prompts in the form of Tk-Instruct (arXiv 2204.07705), which the paper's scripts share:

    <task name>. Definition: <definition>

     Positive Example 1 -
    Input: <input>
     Output: <output>
     Explanation: <explanation>

     Negative Example 1 -
    ...

    Now complete the following example -
    Input: <input>
    Output:

Not inherited: a prompt that is too long without any example is not cut here, so that its end stays.
"""

from __future__ import annotations

import string
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.data.records.record import RecordError, shown, text
from orchestrator.errors import DataError


class PromptForm(NamedTuple):
    """What stands in a prompt.

    Attributes:
        positive, negative: examples, at most.
        explanations: those of examples are there.
        task_name: it is there.
        full_stops: behind parts that end in no punctuation.
        max_tokens: of the prompt, up to which examples are put in; None: all of them.
        tokenizer: what counts them; a `tokenizer.json` or its folder.
    """

    positive: int
    negative: int = 0
    explanations: bool = False
    task_name: bool = False
    full_stops: bool = False
    max_tokens: int | None = None
    tokenizer: str | None = None


class Introduction(NamedTuple):
    """What the prompts of a task begin with: its name and its definition, and its examples."""

    name: str
    definition: str
    positive: list[str]
    negative: list[str]


def introduction_of(task: dict[str, Any], name: str, form: PromptForm) -> Introduction:
    """Makes the introduction of a task file.

    Raises:
        RecordError: there is no definition, or what should be an example is none.
    """
    definition = text(first_output(task.get("Definition")), "definition").strip()
    return Introduction(
        f"{name}. " if form.task_name else "",
        _ended(f"Definition: {definition}", form) + "\n\n",
        _examples(task, "Positive", form.positive, form),
        _examples(task, "Negative", form.negative, form),
    )


def prompt_of(introduction: Introduction, given: Any, form: PromptForm) -> str:
    """Makes the prompt of an instance, with the examples that fit.

    Args:
        introduction: of its task.
        given: the input of the instance.
        form: what stands in the prompt.

    Raises:
        RecordError: the input is no text.
        DataError: the tokenizer cannot be read.
    """
    asked = "Now complete the following example -\n"
    asked += _ended(f"Input: {_stripped(given, 'input')}", form) + "\nOutput: "
    name, definition, positive, negative = introduction
    if form.max_tokens is not None:
        fitting = _fitting([definition], positive, asked, form)
        # The authors put a space between examples where they count, and none where they write.
        negative = _fitting([definition, " ".join(fitting)], negative, asked, form)
        positive = fitting
    return "".join((name, definition, *positive, *negative, asked))


def first_output(value: Any) -> Any:
    """Returns the value, or the first one of a list; None of an empty one."""
    return next(iter(value), None) if isinstance(value, list) else value


def tokenizer_file(path: str) -> Path:
    """Returns the path of a `tokenizer.json`, named by itself or by its folder.

    Raises:
        DataError: there is none.
    """
    given = Path(path).expanduser()
    file = given / "tokenizer.json" if given.is_dir() else given
    if not file.is_file():
        raise DataError(
            f"{file} is not there: set tokenizer to a tokenizer.json, or to the folder of a model "
            "that holds one"
        )
    return file


def _examples(task: dict[str, Any], kind: str, most: int, form: PromptForm) -> list[str]:
    """Returns the first examples of a kind, as the prompt has them."""
    given = task.get(f"{kind} Examples") or []
    if not most:
        return []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise RecordError("no task file", f"{kind} Examples is no list of objects")
    written = []
    for number, each in enumerate(islice(given, most), start=1):
        lines = [
            f"Input: {_stripped(each.get('input'), 'example')}",
            f" Output: {_stripped(first_output(each.get('output')), 'example')}",
        ]
        if form.explanations and "explanation" in each:
            lines.append(f" Explanation: {_stripped(each['explanation'], 'explanation')}")
        ended = "".join(f"{_ended(line, form)}\n" for line in lines)
        written.append(f" {kind} Example {number} -\n{ended}\n")
    return written


def _ended(line: str, form: PromptForm) -> str:
    """Returns a line with the full stop that the form asks for."""
    return f"{line}." if form.full_stops and line[-1] not in string.punctuation else line


def _fitting(before: list[str], examples: list[str], asked: str, form: PromptForm) -> list[str]:
    """Returns the first examples that fit into a prompt between what stands around them."""
    assert form.tokenizer is not None
    assert form.max_tokens is not None
    tokenizer = _loaded(tokenizer_file(form.tokenizer))
    kept: list[str] = []
    for example in examples:
        whole = "".join((*before, " ".join(kept), example, asked))
        if len(tokenizer.encode(whole).ids) > form.max_tokens:
            break
        kept.append(example)
    return kept


def _stripped(value: Any, what: str) -> str:
    """Returns text that may be empty: some tasks ask without an input."""
    if not isinstance(value, str):
        raise RecordError(f"{what} is not text", shown(value))
    return value.strip()


@cache  # of a process
def _loaded(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # whatever the library raises
        raise DataError(f"{file} is no tokenizer.json ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
