"""A frozen language model with a small adapter beside every linear layer.

y = W a becomes y = W a + P' M Q a, of which P (rank, out) and Q (rank, in) are drawn once and
frozen. M (rank, rank) is zero at first, which is the untouched model, and all that is trained: a
few thousand numbers a step, for which no engine is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.config.training import Model
from orchestrator.errors import ModelError
from orchestrator.training.batches import Rows, collate, split
from orchestrator.training.device import Device
from orchestrator.training.losses import token_losses
from orchestrator.training.model import load_model
from orchestrator.training.tokens import Tokens

BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam, as LESS has them


class AdaptedModel:
    """A causal language model and its adapters.

    Args:
        folder: the model.
        rank: of the adapters.
        seed: of their frozen parts.
        device: where it computes, and in which arithmetic; the adapters are float32.

    Attributes:
        adapters: of all layers, in the order of their numbers.

    Raises:
        ModelError: the model cannot be loaded, or has no linear layer but the one behind its last
            hidden state.
    """

    def __init__(self, folder: Path, rank: int, seed: int, device: Device) -> None:
        self._device = device.torch_device
        model: Any = load_model(folder, Model(name=str(folder)), device)
        model.eval()  # nothing is dropped at random
        model.requires_grad_(False)
        self._model = model
        head = model.get_output_embeddings()
        layers = {
            name: layer
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head
        }
        if not layers:
            raise ModelError(
                f"the model {folder} has no linear layers, beside which adapters are trained: "
                "name another model in embedding.model, or another embedding.pooling"
            )
        self._drawn = torch.Generator().manual_seed(seed)
        self.adapters = [
            Adapter(name, layer, rank, self._drawn, self._device) for name, layer in layers.items()
        ]
        self._numbers = len(layers) * rank**2

    def train(
        self,
        tokens: Tokens,
        steps: Sequence[NDArray[np.int64]],
        learning_rate: float,
        batch_tokens: int,
    ) -> tuple[list[float], torch.Tensor]:
        """Train the adapters with Adam, from where they are.

        Args:
            tokens: of all instances.
            steps: the rows of each step, (n,) int64.
            learning_rate: of all steps.
            batch_tokens: padded tokens of a forward pass.

        Returns:
            The mean of the rows' losses at each step, in nats a token; and Adam's second moments,
            (layers * rank * rank,) float32, corrected for their start at zero.
        """
        weights = [adapter.matrix.requires_grad_() for adapter in self.adapters]
        adam = torch.optim.Adam(weights, lr=learning_rate, betas=BETAS, eps=EPS, foreach=True)
        losses = []
        for of_step in steps:
            total = 0.0
            for batch in batches(tokens, of_step, batch_tokens):
                loss = self._row_losses(tokens, batch).sum() / len(of_step)
                if loss.requires_grad:  # some row has an answer
                    loss.backward()
                total += loss.item()
            adam.step()
            adam.zero_grad()
            losses.append(total)
        moments = torch.cat([adam.state[weight]["exp_avg_sq"].flatten() for weight in weights])
        for weight in weights:
            weight.requires_grad_(False)
        return losses, moments / (1 - BETAS[1] ** len(steps))

    def _row_losses(self, tokens: Tokens, rows: NDArray[np.int64]) -> torch.Tensor:
        """(n,) float32: each row's mean over its answer tokens; 0 without any."""
        batch = collate(tokens, rows, packed=False).to(self._device)
        owners = torch.as_tensor(batch.owners, device=self._device)
        counts = torch.bincount(owners, minlength=len(rows)).clamp(min=1)
        sums = torch.zeros(len(rows), device=self._device)
        if len(owners):
            sums = sums.index_add(0, owners, token_losses(self._model, batch))
        return sums / counts


class Adapter:
    """What is added to the output of one linear layer.

    Attributes:
        name: of the layer.
        left, right: P (rank, out) and Q (rank, in).
        matrix: M (rank, rank), zero before it is trained.
        copy: (rows, rank, rank), what a forward pass takes in its place; None: itself.
    """

    def __init__(
        self, name: str, layer: torch.nn.Linear, rank: int, drawn: torch.Generator, device: Any
    ) -> None:
        self.name = name
        # Of variance 1/rank: products of projections are those of the vectors, in the mean.
        self.left, self.right = (
            (torch.randn(rank, size, generator=drawn) / rank**0.5).to(device)
            for size in (layer.out_features, layer.in_features)
        )
        self.matrix = torch.zeros(rank, rank, device=device)
        self.copy: torch.Tensor | None = None
        layer.register_forward_hook(self._add)

    def copied(self, rows: int) -> torch.Tensor:
        """(rows, rank, rank): the matrix once for each row, each with a gradient of its own."""
        self.copy = self.matrix.detach().expand(rows, -1, -1).clone().requires_grad_()
        return self.copy

    def _add(
        self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        matrix = self.matrix if self.copy is None else self.copy
        if self.copy is not None and inputs[0].dim() != 3:
            raise ModelError(
                f"the layer {self.name} of embedding.model sees the tokens of all rows at once, so "
                "that their gradients cannot be told apart: take another embedding.pooling"
            )
        read = inputs[0].float() @ self.right.T
        return output + (read @ matrix.mT @ self.left).to(output.dtype)


def batches(tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int) -> Iterator[Rows]:
    """Rows that go through the model together, the longest first, each distinct row once."""
    for batch in split(np.unique(rows), tokens.lengths, batch_tokens, 1)[0]:
        yield batch.rows
