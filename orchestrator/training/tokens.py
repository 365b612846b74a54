"""Conversations as token ids, made once per study and memory-mapped by every worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.instance import Message

# Conversations handed to the tokenizer at once: it runs in parallel over a batch.
TOKENIZER_BATCH = 1000


@dataclass(frozen=True)
class Tokens:
    """All instances of a study, end to end.

    Attributes:
        ids: (total,) int32 token ids.
        answer: (total,) bool, tokens that carry loss: the answers and their end marks.
        starts: (rows + 1,) int64; instance r holds positions starts[r] to starts[r + 1].
    """

    ids: NDArray[np.int32]
    answer: NDArray[np.bool_]
    starts: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) int64: tokens of each instance."""
        return np.diff(self.starts)

    def answer_counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),) int64: tokens that carry loss; 0 where the answer was cut away."""
        return np.array([self.answer[self.starts[r] : self.starts[r + 1]].sum() for r in rows])


def write(
    conversations: Iterable[Sequence[Message]], tokenizer: Any, max_length: int, folder: Path
) -> dict[str, int]:
    """Tokenise conversations into `ids.npy`, `answer.npy` and `starts.npy`.

    Args:
        conversations: the messages of each instance, in row order.
        tokenizer: a fast Hugging Face tokenizer with an end-of-text token.
        max_length: tokens kept of each instance.

    Returns:
        Counts: instances, tokens, instances cut at max_length, and instances left without any
        answer token.
    """
    ids: list[int] = []
    answer: list[bool] = []
    starts = [0]
    cut = unanswered = 0
    for row_ids, row_answer in _encoded(conversations, tokenizer):
        cut += len(row_ids) > max_length
        unanswered += not any(row_answer[:max_length])
        ids += row_ids[:max_length]
        answer += row_answer[:max_length]
        starts.append(len(ids))
    np.save(folder / "ids.npy", np.asarray(ids, np.int32))
    np.save(folder / "answer.npy", np.asarray(answer, np.bool_))
    np.save(folder / "starts.npy", np.asarray(starts, np.int64))
    return {
        "instances": len(starts) - 1,
        "tokens": len(ids),
        "cut": cut,
        "unanswered": unanswered,
    }


def load(folder: Path) -> Tokens:
    """Memory-map what `write` left."""
    arrays = [
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("ids", "answer", "starts")
    ]
    return Tokens(*arrays)


def _encoded(
    conversations: Iterable[Sequence[Message]], tokenizer: Any
) -> Iterator[tuple[list[int], list[bool]]]:
    batch: list[Sequence[Message]] = []
    for messages in conversations:
        batch.append(messages)
        if len(batch) == TOKENIZER_BATCH:
            yield from _encode_batch(batch, tokenizer)
            batch = []
    if batch:
        yield from _encode_batch(batch, tokenizer)


def _encode_batch(
    batch: list[Sequence[Message]], tokenizer: Any
) -> Iterator[tuple[list[int], list[bool]]]:
    """Token ids and answer marks in the authors' template, whole conversations.

    Each pair is "User: {prompt}\\nAssistant: {answer}{eos}"; the first follows BOS. A pair is
    tokenised in one piece, so that the first word of an answer gets the token it has in running
    text; offsets into the text then tell which tokens belong to the answer.
    """
    pairs = [
        (f"User: {user['content']}\nAssistant: ", assistant["content"])
        for messages in batch
        for user, assistant in zip(messages[::2], messages[1::2], strict=True)
    ]
    encoded = tokenizer(
        [head + answer for head, answer in pairs],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    pair = 0
    for messages in batch:
        ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        marks = [False] * len(ids)
        for _ in range(len(messages) // 2):
            answer_start = len(pairs[pair][0])
            ids += [*encoded["input_ids"][pair], tokenizer.eos_token_id]
            marks += [end > answer_start for _, end in encoded["offset_mapping"][pair]] + [True]
            pair += 1
        yield ids, marks
