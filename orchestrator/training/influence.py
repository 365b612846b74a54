"""What a step on one row does to the loss of another: gradients in the metric of the optimizer.

Adam changes the trained weights by -lr D g, with g the gradient of the batch, v its second moments
and D = 1 / (sqrt(v) + eps). So with phi = D^(1/2) g the loss of a row q falls by lr phi_q · phi_i,
to first order, for a step on row i (`core.quadratic` goes on from there). Gradients are those of
`training.gradients`: of a small matrix M beside each linear layer, here of the untouched model, and
with the length that they have.

D has to be that of the weights that are trained, and follows from the v of M, that the warm-up
leaves, layer by layer. The projections keep the length |G| of a gradient of W, but hold it in
rank * rank numbers where W has out * in. Taken as spread evenly over each, sqrt(v) is |G| / rank in
M and |G| / sqrt(out in) in W, so that Adam on W moves sqrt(out in) / rank times as far.

With LoRA, W changes by (alpha / r) B A, at first through B alone, as B starts from zero. Its
gradient is (alpha / r) G A', and A starts with variance 1 / (3 in), so that A'A is about
r / (3 in): by the same reckoning the factor is (alpha / rank) sqrt(out / (3 in)), whatever r is.

What is left out: within a layer v differs from entry to entry, for which D is too large
(Cauchy-Schwarz); embeddings, norms and the head move too; v is that of the warm-up, whose batches,
losses and unclipped gradients are not those of the training; and its eps. All of it makes a first
step of SmolLM2-135M 6.6 times too long (experiments/LOG.md), which a fitted scale puts right.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.config.training import Lora
from orchestrator.training.gradients import GradientModel
from orchestrator.training.small_adapters import Adapter
from orchestrator.training.tokens import Tokens

Trained = Literal["none"] | Lora  # `model.adapter`


def influences(
    model: GradientModel,
    tokens: Tokens,
    rows: NDArray[np.int64],
    batch_tokens: int,
    trained: Trained,
) -> NDArray[np.float32]:
    """Gradients times the root of the preconditioner, and the losses beside them.

    Args:
        model: untouched, with the second moments of a warm-up.
        tokens: of all instances.
        rows: (n,) int64, distinct.
        batch_tokens: padded tokens of a forward pass.
        trained: the adapter that is trained, or `none`: the weights themselves.

    Returns:
        (n, dimensions + 1) float32, in the order of `rows`: phi, then the row's mean answer loss in
        nats; of a row without an answer zeros, then NaN.
    """
    numbers = [adapter.matrix.numel() for adapter in model.adapters]
    factors = torch.tensor([step_factor(adapter, trained) for adapter in model.adapters])
    each = factors.repeat_interleave(torch.tensor(numbers))
    root = (each.to(model.adapters[0].matrix.device) / model.root_moments()).sqrt()
    found = []
    for places, losses, gradients in model.passes(tokens, rows, batch_tokens):
        part = torch.cat([model.mapped(gradients * root), losses[:, None]], dim=1).cpu().numpy()
        part[tokens.answer_counts(rows[places]) == 0, -1] = np.nan
        found.append((places, part))
    whole = np.empty((len(rows), found[0][1].shape[1]), np.float32)
    for places, part in found:
        whole[places] = part
    return whole


def step_factor(adapter: Adapter, trained: Trained) -> float:
    """How many times as far as M's Adam that of the trained weights moves, of the same rate.

    Args:
        adapter: M beside a layer.
        trained: as in `influences`. Of a layer that it leaves alone the factor is 0.
    """
    (rank, outputs), inputs = adapter.left.shape, adapter.right.shape[1]
    if not isinstance(trained, Lora):
        return float((outputs * inputs) ** 0.5 / rank)
    named = trained.targets
    if named != "all-linear" and not any(f".{adapter.name}".endswith(f".{end}") for end in named):
        return 0.0
    return float(trained.alpha / rank * (outputs / (3 * inputs)) ** 0.5)
