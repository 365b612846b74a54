"""Finding the messages of a conversation again in what a chat template wrote of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orchestrator.data.instance import Message

THINK_TAG = re.compile(r"(</?think>)")


def message_spans(
    written: str, gaps: list[str], messages: Sequence[Message]
) -> tuple[list[tuple[int, int]], bool] | None:
    """A text read as gaps with the messages between them.

    Args:
        gaps: the text before the first message, between them, and behind the last.

    Returns:
        ((begin, end) of each message, whether white space of one was changed); None where the text
        cannot be read so.
    """
    # By where the messages so far end: there are several ways while white space may be of either.
    ways: dict[int, tuple[list[tuple[int, int]], bool]] = {0: ([], False)}
    for gap, message in zip(gaps, messages, strict=False):
        further: dict[int, tuple[list[tuple[int, int]], bool]] = {}
        for at, (spans, reshaped) in ways.items():
            if written.startswith(gap, at):
                begin = at + len(gap)
                for end, same in message_ends(written, begin, message["content"]):
                    further.setdefault(end, ([*spans, (begin, end)], reshaped or not same))
        ways = further
    return next((way for at, way in ways.items() if written[at:] == gaps[-1]), None)


def message_ends(written: str, at: int, text: str) -> Iterator[tuple[int, bool]]:
    """The places where a message may end that begins at one, and whether it is unchanged there."""
    tried = dict.fromkeys((text, text.strip(), text.rstrip(), text.lstrip()))
    for variant in tried:
        if written.startswith(variant, at):
            yield at + len(variant), variant == text
    if "</think>" in text:
        # Templates set the line breaks around reasoning themselves.
        parts = (r"\s+".join(map(re.escape, part.split())) for part in THINK_TAG.split(text))
        if match := re.compile(r"\s*".join(parts)).match(written, at):
            yield match.end(), False


def parting(one: str, other: str) -> int:
    """The first place at which two texts differ."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
