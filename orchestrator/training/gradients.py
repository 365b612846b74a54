"""Gradient vectors: what an instance would teach a model, instead of what it is about.

Beside every linear layer y = W a lies a small adapter, y = W a + P' M Q a, of which P (rank, out)
and Q (rank, in) are drawn once and frozen. The gradient of an instance's answer loss with respect
to M is the sum over its tokens of (P d)(Q a)', where d is the gradient of y: that of W, projected
on both sides (LoGra, arXiv 2405.13954). M is trained a few steps on rows of the pool; then the
gradients of the pool are divided by the root of Adam's second moment, as its updates would be, and
those of test items are not (LESS, arXiv 2402.04333, section 3). The numbers of all layers are
mapped to `dimensions` and scaled to length one: the cosine of a pool row and a test item says
whether a step on the one lowers the loss of the other.

Use it where what texts are about says too little. It costs a forward and a backward pass of the
trained model for every row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from orchestrator.config.gradients import Gradients
from orchestrator.config.training import Model
from orchestrator.errors import ModelError
from orchestrator.training.batches import Rows, collate, split
from orchestrator.training.device import Device
from orchestrator.training.losses import token_losses
from orchestrator.training.model import load_model
from orchestrator.training.tokens import Tokens

BETAS, EPS = (0.9, 0.999), 1e-8  # of Adam, as LESS has them


class GradientModel:
    """A causal language model with adapters, ready to give the gradients of instances.

    Args:
        folder: the model.
        settings: rank of the adapters, dimensions of a vector, the warm-up, and the seed of all
            that is drawn.
        device: where it computes, and in which arithmetic; the adapters are float32.

    Raises:
        ModelError: the model cannot be loaded, or has no linear layer but the one behind its last
            hidden state.
    """

    def __init__(self, folder: Path, settings: Gradients, device: Device) -> None:
        self._settings = settings
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
                f"the model {folder} has no linear layers, of which gradient vectors are made: "
                "name another model in embedding.model, or another embedding.pooling"
            )
        drawn = torch.Generator().manual_seed(settings.seed)
        self._adapters = [
            _Adapter(name, layer, settings.rank, drawn, self._device)
            for name, layer in layers.items()
        ]
        numbers = len(layers) * settings.rank**2
        # Every number goes, with a sign, into one of the dimensions: a random map that needs no
        # matrix and is the same to the last bit on any device.
        padded = -(-numbers // settings.dimensions) * settings.dimensions
        self._place = torch.randperm(padded, generator=drawn).to(self._device)
        self._sign = (torch.randint(0, 2, (padded,), generator=drawn) * 2 - 1).to(self._device)
        self._numbers = numbers
        self.moments: torch.Tensor | None = None

    def warm_up(
        self, tokens: Tokens, steps: Sequence[NDArray[np.int64]], batch_tokens: int
    ) -> list[float]:
        """Train the adapters with Adam and keep its second moments.

        Args:
            tokens: of all instances.
            steps: the rows of each step, (n,) int64.
            batch_tokens: padded tokens of a forward pass.

        Returns:
            The mean of the rows' losses at each step, in nats a token.
        """
        weights = [adapter.matrix.requires_grad_() for adapter in self._adapters]
        adam = torch.optim.Adam(
            weights, lr=self._settings.learning_rate, betas=BETAS, eps=EPS, foreach=True
        )
        losses = []
        for of_step in steps:
            total = 0.0
            for batch in _batches(tokens, of_step, batch_tokens):
                loss = self._row_losses(tokens, batch).sum() / len(of_step)
                loss.backward()
                total += loss.item()
            adam.step()
            adam.zero_grad()
            losses.append(total)
        moments = torch.cat([adam.state[weight]["exp_avg_sq"].flatten() for weight in weights])
        self.moments = moments / (1 - BETAS[1] ** len(steps))
        for weight in weights:
            weight.requires_grad_(False)
        return losses

    def state(self) -> dict[str, torch.Tensor]:
        """What `warm_up` left: the adapters and the second moments, float32, on the CPU."""
        assert self.moments is not None, "warm_up comes first"
        state = {adapter.name: adapter.matrix.detach().cpu() for adapter in self._adapters}
        return state | {"second_moments": self.moments.cpu()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what another process's `state` gave."""
        for adapter in self._adapters:
            adapter.matrix = state[adapter.name].to(self._device)
        self.moments = state["second_moments"].to(self._device)

    def vectors(
        self, tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int, *, pool: bool
    ) -> NDArray[np.float32]:
        """Vectors of length one; zero where no token of an instance carries loss.

        Args:
            tokens: of all instances.
            rows: (n,) int64.
            batch_tokens: padded tokens of a forward pass.
            pool: whether the rows are of the pool, whose gradients are divided by the root of the
                second moments.

        Returns:
            (n, dimensions) float32, in the order of `rows`.
        """
        place = {row: at for at, row in enumerate(rows.tolist())}
        vectors = np.empty((len(rows), self._settings.dimensions), np.float32)
        for batch in _batches(tokens, rows, batch_tokens):
            gradients = self.gradients(tokens, batch)
            if pool:
                assert self.moments is not None, "warm_up comes first"
                gradients = gradients / (self.moments.sqrt() + EPS)
            mapped = functional.normalize(self._mapped(gradients), dim=1)
            vectors[[place[row] for row in batch.tolist()]] = mapped.cpu().numpy()
        return vectors

    def gradients(self, tokens: Tokens, rows: NDArray[np.int64]) -> torch.Tensor:
        """(n, layers * rank * rank) float32: of each row's mean answer loss, for one forward pass.

        Each row has its own copy of an adapter, so that one backward pass keeps the rows apart.
        """
        copies = [adapter.copied(len(rows)) for adapter in self._adapters]
        try:
            loss = self._row_losses(tokens, rows).sum()
        finally:
            for adapter in self._adapters:
                adapter.copy = None
        if not loss.requires_grad:  # no row has an answer
            return torch.zeros(len(rows), self._numbers, device=self._device)
        parts = torch.autograd.grad(loss, copies, allow_unused=True)
        return torch.cat(
            [
                (torch.zeros_like(copy) if part is None else part).flatten(1)
                for copy, part in zip(copies, parts, strict=True)
            ],
            dim=1,
        )

    def _row_losses(self, tokens: Tokens, rows: NDArray[np.int64]) -> torch.Tensor:
        """(n,) float32: each row's mean over its answer tokens; 0 without any."""
        batch = collate(tokens, rows, packed=False).to(self._device)
        owners = torch.as_tensor(batch.owners, device=self._device)
        counts = torch.bincount(owners, minlength=len(rows)).clamp(min=1)
        sums = torch.zeros(len(rows), device=self._device)
        if len(owners):
            sums = sums.index_add(0, owners, token_losses(self._model, batch))
        return sums / counts

    def _mapped(self, gradients: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(gradients, (0, len(self._place) - self._numbers))
        return (
            (padded[:, self._place] * self._sign)
            .unflatten(1, (-1, self._settings.dimensions))
            .sum(dim=1)
        )


class _Adapter:
    """What is added to the output of one linear layer."""

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
        if inputs[0].dim() != 3:
            raise ModelError(
                f"the layer {self.name} of embedding.model sees the tokens of all rows at once, so "
                "that their gradients cannot be told apart: take another embedding.pooling"
            )
        read = inputs[0].float() @ self.right.T
        return output + (read @ matrix.mT @ self.left).to(output.dtype)


def _batches(tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int) -> Iterator[Rows]:
    """Rows that go through the model together, the longest first, each distinct row once."""
    for batch in split(np.unique(rows), tokens.lengths, batch_tokens, 1)[0]:
        yield batch.rows
