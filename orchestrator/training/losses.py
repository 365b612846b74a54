"""Cross-entropy at answer positions, and its normalisation over the global batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from orchestrator.training.batches import Batch


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy of each answer token; 0 at all other positions.

    Returns:
        (n, keep) float32, in nats.
    """
    logits = model(**batch.inputs, use_cache=False).logits[:, :-1].float()
    # A row that fills its batch has no token before the first: it carries no loss there.
    missing = batch.targets.shape[1] - logits.shape[1]
    targets, answer = batch.targets[:, missing:], batch.answer[:, missing:]
    loss = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    loss = loss.masked_fill(~answer, 0.0)
    return functional.pad(loss, (missing, 0))


def row_weights(answer_counts: NDArray[np.int64], kind: str) -> NDArray[np.float64]:
    """Weight of each token of each row, so that the weighted sum over the global batch is the loss.

    Args:
        answer_counts: (n,) int64, answer tokens of every row of the global batch.
        kind: `token_mean`, sum of token losses / number of answer tokens; or `example_mean`, the
            mean over rows of each row's mean, rows without an answer left out.

    Returns:
        (n,) float64.
    """
    answered = answer_counts > 0
    if kind == "token_mean":
        return np.full(len(answer_counts), 1.0 / max(1, answer_counts.sum()))
    return np.where(answered, 1.0 / (np.maximum(answer_counts, 1) * max(1, answered.sum())), 0.0)
