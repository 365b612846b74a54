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

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from orchestrator.config.gradients import Gradients
from orchestrator.training.device import Device
from orchestrator.training.small_adapters import EPS, AdaptedModel, batches
from orchestrator.training.tokens import Tokens


class GradientModel(AdaptedModel):
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
        super().__init__(folder, settings.rank, settings.seed, device)
        self._settings = settings
        # Every number goes, with a sign, into one of the dimensions: a random map that needs no
        # matrix and is the same to the last bit on any device.
        padded = -(-self._numbers // settings.dimensions) * settings.dimensions
        self._place = torch.randperm(padded, generator=self._drawn).to(self._device)
        self._sign = (torch.randint(0, 2, (padded,), generator=self._drawn) * 2 - 1).to(
            self._device
        )
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
        losses, self.moments = self.train(tokens, steps, self._settings.learning_rate, batch_tokens)
        return losses

    def state(self) -> dict[str, torch.Tensor]:
        """What `warm_up` left: the adapters and the second moments, float32, on the CPU."""
        assert self.moments is not None, "warm_up comes first"
        state = {adapter.name: adapter.matrix.detach().cpu() for adapter in self.adapters}
        return state | {"second_moments": self.moments.cpu()}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what another process's `state` gave."""
        for adapter in self.adapters:
            adapter.matrix = state[adapter.name].to(self._device)
        self.moments = state["second_moments"].to(self._device)

    def load_moments(self, state: dict[str, torch.Tensor]) -> None:
        """Take over the second moments alone: the adapters stay zero, the model untouched."""
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
        divisor = self.root_moments() if pool else None
        vectors = np.empty((len(rows), self._settings.dimensions), np.float32)
        for places, _, gradients in self.passes(tokens, rows, batch_tokens):
            found = gradients if divisor is None else gradients / divisor
            vectors[places] = functional.normalize(self.mapped(found), dim=1).cpu().numpy()
        return vectors

    def passes(
        self, tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """Rows in batches that fit into a forward pass: their places in `rows`, then `gradients`.

        Args:
            tokens: of all instances.
            rows: (n,) int64, distinct.
            batch_tokens: padded tokens of a forward pass.
        """
        place = {row: at for at, row in enumerate(rows.tolist())}
        for batch in batches(tokens, rows, batch_tokens):
            yield [place[row] for row in batch.tolist()], *self.gradients(tokens, batch)

    def root_moments(self) -> torch.Tensor:
        """(layers * rank * rank,) float32: what Adam divides a gradient by."""
        assert self.moments is not None, "warm_up comes first"
        return self.moments.sqrt() + EPS

    def gradients(
        self, tokens: Tokens, rows: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the rows of one forward pass.

        Each row has its own copy of an adapter, so that one backward pass keeps the rows apart.

        Returns:
            (n,) float32, each row's mean answer loss, 0 without an answer; and their gradients,
            (n, layers * rank * rank) float32.
        """
        copies = [adapter.copied(len(rows)) for adapter in self.adapters]
        try:
            losses = self._row_losses(tokens, rows)
        finally:
            for adapter in self.adapters:
                adapter.copy = None
        if not losses.requires_grad:  # no row has an answer
            return losses, torch.zeros(len(rows), self._numbers, device=self._device)
        parts = torch.autograd.grad(losses.sum(), copies, allow_unused=True)
        return losses.detach(), torch.cat(
            [
                (torch.zeros_like(copy) if part is None else part).flatten(1)
                for copy, part in zip(copies, parts, strict=True)
            ],
            dim=1,
        )

    def mapped(self, gradients: torch.Tensor) -> torch.Tensor:
        """(n, dimensions): the numbers of all layers, (n, layers * rank * rank), in fewer."""
        padded = functional.pad(gradients, (0, len(self._place) - self._numbers))
        return (
            (padded[:, self._place] * self._sign)
            .unflatten(1, (-1, self._settings.dimensions))
            .sum(dim=1)
        )
