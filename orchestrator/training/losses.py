"""Cross-entropy at answer positions, and its normalisation over the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from orchestrator.training.batches import Batch, MicroBatch


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """(k, vocabulary) float32 logits that score the answer tokens of a batch."""
    logits = model(**batch.inputs, use_cache=False).logits.flatten(0, 1)
    return (logits if batch.places is None else logits[batch.places]).float()


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """(k,) float32 cross-entropy of each answer token of a batch, in nats."""
    return functional.cross_entropy(answer_logits(model, batch), batch.targets, reduction="none")


def row_weights(
    answer_counts: NDArray[np.int64], kind: str, micro_batch: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Weight of each token of each row, so that the weighted sum over the global batch is the loss.

    Args:
        answer_counts: (n,) int64, answer tokens of every row of the global batch.
        kind: `token_mean`, sum of token losses / number of answer tokens; `example_mean`, the
            mean over rows of each row's mean, rows without an answer left out; or `authors`, the
            mean over micro-batches of each one's token mean, those without an answer left out.
            `authors` depends on how the batch is split, so on the number of workers and the token
            budget: it is for comparison with the authors' scripts only.
        micro_batch: (n,) int64 from `micro_batch_numbers`; read by `authors` alone.

    Returns:
        (n,) float64.

    Raises:
        ValueError: if the kind is none of these, or `authors` lacks the micro-batches.
    """
    answered = answer_counts > 0
    if kind == "token_mean":
        return np.full(len(answer_counts), 1.0 / max(1, answer_counts.sum()))
    if kind == "example_mean":
        each = np.maximum(answer_counts, 1) * max(1, answered.sum())
        return np.where(answered, 1.0 / each, 0.0)
    if kind != "authors":
        raise ValueError(f"loss {kind!r}: token_mean, example_mean or authors")
    if micro_batch is None:
        raise ValueError("loss 'authors' needs the micro-batch of each row")
    tokens = np.bincount(micro_batch, weights=answer_counts)
    each = np.maximum(tokens, 1) * max(1, np.count_nonzero(tokens))
    return np.where(answered, 1.0 / each[micro_batch], 0.0)


def micro_batch_numbers(
    rows: NDArray[np.int64], shares: Sequence[Sequence[MicroBatch]]
) -> NDArray[np.int64]:
    """The micro-batch that carries the loss of each row, numbered over all ranks.

    Args:
        rows: (n,) int64 distinct rows of the token table.
        shares: the micro-batches of every rank, as `split` made them of these rows.

    Returns:
        (n,) int64 from 0; filler has no number.
    """
    real = [batch for share in shares for batch in share if not batch.filler]
    number = {row: i for i, batch in enumerate(real) for row in batch.rows.tolist()}
    return np.array([number[row] for row in rows.tolist()], np.int64)
