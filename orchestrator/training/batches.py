"""How the rows of one global batch are regrouped, and how a group becomes tensors.

The gradient of a step does not depend on either (design: the loss is normalised over the global
batch), so both may serve speed alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.training.tokens import Tokens


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together.

    Attributes:
        rows: (n,) int64 rows of the token table.
        filler: the rows only keep a rank in step with the others; they carry no loss and are
            not part of the realised order.
    """

    rows: NDArray[np.int64]
    filler: bool = False


def split(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], token_budget: int, ranks: int
) -> list[list[MicroBatch]]:
    """Group rows of similar length into micro-batches, the same number on every rank.

    Args:
        rows: (n,) int64 rows to be covered, each once.
        lengths: tokens of every row of the token table.
        token_budget: padded tokens in one micro-batch; a longer row goes alone.
        ranks: data-parallel ranks.

    Returns:
        For each rank its micro-batches, longest first.
    """
    ordered = rows[np.lexsort((rows, -lengths[rows]))]
    groups: list[NDArray[np.int64]] = []
    start = 0
    while start < len(ordered):
        # The first row of a group is its longest, so it sets the padded length.
        size = max(1, int(token_budget // lengths[ordered[start]]))
        groups.append(ordered[start : start + size])
        start += size
    while len(groups) % ranks and max(map(len, groups)) > 1:
        widest = max(range(len(groups)), key=lambda i: len(groups[i]) * lengths[groups[i][0]])
        if len(groups[widest]) == 1:
            widest = max(range(len(groups)), key=lambda i: len(groups[i]))
        half = len(groups[widest]) // 2
        groups[widest : widest + 1] = [groups[widest][:half], groups[widest][half:]]
    batches = [MicroBatch(group) for group in groups]
    while len(batches) % ranks:
        batches.append(MicroBatch(ordered[-1:], filler=True))
    return [batches[rank::ranks] for rank in range(ranks)]


@dataclass(frozen=True)
class Batch:
    """A micro-batch as tensors, padded on the left.

    Left padding lines the answers up at the right end, so that logits are computed for the last
    `keep` positions only: the vocabulary projection is a fifth of a small model's work.

    Attributes:
        inputs: keyword arguments of the model: input_ids, attention_mask and position_ids, all
            (n, length) int64, and logits_to_keep.
        targets: (n, keep) int64, the last tokens of each row.
        answer: (n, keep) bool, those of them that carry loss.
    """

    inputs: dict[str, torch.Tensor | int]
    targets: torch.Tensor
    answer: torch.Tensor

    @property
    def padded_tokens(self) -> int:
        return self.inputs["input_ids"].numel()  # type: ignore[union-attr]


def collate(tokens: Tokens, rows: NDArray[np.int64], device: torch.device | str = "cpu") -> Batch:
    """Makes one batch of the rows, padded on the left, on a device."""
    lengths = tokens.lengths[rows]
    width = int(lengths.max())
    ids = np.zeros((len(rows), width), np.int64)
    answer = np.zeros((len(rows), width), np.bool_)
    mask = np.arange(width) >= (width - lengths)[:, None]
    for i, row in enumerate(rows):
        part = slice(tokens.starts[row], tokens.starts[row + 1])
        ids[i, mask[i]] = tokens.ids[part]
        answer[i, mask[i]] = tokens.answer[part]
    marked = np.flatnonzero(answer.any(axis=0))
    keep = max(1, width - int(marked[0])) if len(marked) else 1
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    to = torch.as_tensor
    return Batch(
        inputs={
            "input_ids": to(ids, device=device),
            "attention_mask": to(mask.astype(np.int64), device=device),
            "position_ids": to(positions, device=device),
            # The logit of a position scores the next token: one more position on the left.
            "logits_to_keep": min(keep + 1, width),
        },
        targets=to(ids[:, -keep:], device=device),
        answer=to(answer[:, -keep:], device=device),
    )
