"""Target path: what training on the queries would do to an instance, as a vector.

The queries are parted into groups. For each, small adapters beside all linear layers are trained a
few steps on its queries; an instance belongs to the way there if its own answer loss falls, too
(arXiv 2605.09404, with one path for each group). With its loss l of the untouched model and l_c
behind the adapters of group c, its score is

    s_c = (l - l_c) / max(l, l_c)

the drop over the untouched loss, where it drops. A rise counts over the loss that it arrives at,
which leaves the order of instances as it is and keeps s_c above -1, however small l is. The vector
of an instance is s / sqrt(groups), which is no longer than one, with one number more that makes it
so; that of a query is the axis of its group. Their cosine is s_c / sqrt(groups), so that whatever
runs on cosines goes by the scores.

Use it where a backward pass does not fit into memory, or the target is one: a row costs forward
passes alone, one more than there are groups, and a gradient vector about two. Not where the queries
are to judge what comes of it, as it has learned their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from orchestrator.config.path import TargetPath
from orchestrator.training.batches import Rows, collate
from orchestrator.training.device import Device
from orchestrator.training.small_adapters import AdaptedModel, batches
from orchestrator.training.tokens import Tokens


class PathModel(AdaptedModel):
    """A causal language model with adapters for each group of queries.

    Args:
        folder: the model.
        settings: rank and seed of the adapters, and how they are trained.
        device: where it computes, and in which arithmetic; the adapters are float32.

    Raises:
        ModelError: as `AdaptedModel`.
    """

    def __init__(self, folder: Path, settings: TargetPath, device: Device) -> None:
        super().__init__(folder, settings.rank, settings.seed, device)
        self._settings = settings
        # Of each group the matrices of all adapters; those of the untouched model are zero.
        self._untouched = [adapter.matrix for adapter in self.adapters]
        self._paths: list[list[torch.Tensor]] = []

    def states(
        self, tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int
    ) -> NDArray[np.float32]:
        """The untouched model's last hidden states h_i as a vector, sum_i i h_i, of length one.

        Args:
            tokens: of all instances.
            rows: (n,) int64.
            batch_tokens: padded tokens of a forward pass.

        Returns:
            (n, hidden size) float32, in the order of `rows`.
        """
        self._put(self._untouched)
        return _by_row(tokens, rows, batch_tokens, lambda batch: self._states(tokens, batch))

    def follow(
        self, tokens: Tokens, groups: Sequence[NDArray[np.int64]], batch_tokens: int
    ) -> list[list[float]]:
        """Train adapters for each group of queries, each time from the untouched model.

        Args:
            tokens: of all instances.
            groups: the rows of each, (n,) int64, some with an answer.
            batch_tokens: padded tokens of a forward pass.

        Returns:
            Of each group the mean of its rows' losses at each step, in nats a token.
        """
        self._paths, losses = [], []
        rate, count = self._settings.learning_rate, self._settings.steps
        for rows in groups:
            self._put([torch.zeros_like(matrix) for matrix in self._untouched])
            steps = [rows] * count
            losses.append(self.train(tokens, steps, rate, batch_tokens)[0])
            self._paths.append([adapter.matrix.detach() for adapter in self.adapters])
        return losses

    def state(self) -> dict[str, torch.Tensor]:
        """What `follow` left: of each adapter (groups, rank, rank) float32, on the CPU."""
        assert self._paths, "follow comes first"
        of_layers = zip(self.adapters, zip(*self._paths, strict=True), strict=True)
        return {adapter.name: torch.stack(matrices).cpu() for adapter, matrices in of_layers}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what another process's `state` gave."""
        stacks = [state[adapter.name].to(self._device) for adapter in self.adapters]
        self._paths = [list(matrices) for matrices in zip(*stacks, strict=True)]

    def vectors(
        self, tokens: Tokens, rows: NDArray[np.int64], batch_tokens: int
    ) -> NDArray[np.float32]:
        """Vectors of instances that are no queries, of length one.

        Args:
            tokens: of all instances.
            rows: (n,) int64.
            batch_tokens: padded tokens of a forward pass.

        Returns:
            (n, groups + 1) float32, in the order of `rows`.
        """
        losses = _by_row(tokens, rows, batch_tokens, lambda batch: self.losses(tokens, batch))
        return lifted(scores(losses))

    @torch.inference_mode()
    def losses(self, tokens: Tokens, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 1 + groups) float32: the mean answer loss of rows for one forward pass, of the
        untouched model and behind the adapters of each group; 0 without an answer."""
        assert self._paths, "follow comes first"
        columns = []
        for matrices in (self._untouched, *self._paths):
            self._put(matrices)
            columns.append(self._row_losses(tokens, rows))
        return torch.stack(columns, dim=1).cpu().numpy()

    @torch.inference_mode()
    def _states(self, tokens: Tokens, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = collate(tokens, rows, packed=False).to(self._device).inputs
        del inputs["logits_to_keep"]
        hidden = self._model.base_model(**inputs, use_cache=False).last_hidden_state.float()
        weights = (inputs["position_ids"] + 1) * inputs["attention_mask"]
        sums = (hidden * weights[..., None]).sum(dim=1)
        states: NDArray[np.float32] = functional.normalize(sums, dim=1).cpu().numpy()
        return states

    def _put(self, matrices: Sequence[torch.Tensor]) -> None:
        for adapter, matrix in zip(self.adapters, matrices, strict=True):
            adapter.matrix = matrix


def _by_row(
    tokens: Tokens,
    rows: NDArray[np.int64],
    batch_tokens: int,
    of_batch: Callable[[Rows], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """What is made of rows that go through the model together, in the order of `rows`."""
    together = list(batches(tokens, rows, batch_tokens))
    made = np.concatenate([of_batch(batch) for batch in together])
    place = {row: at for at, row in enumerate(np.concatenate(together).tolist())}
    return made[[place[row] for row in rows.tolist()]]


def scores(losses: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normalised drops of the loss, from -1 to 1.

    Args:
        losses: (n, 1 + groups) float32, as `PathModel.losses`.

    Returns:
        (n, groups) float64; 0 where there is no loss.
    """
    untouched, behind = losses[:, :1].astype(np.float64), losses[:, 1:].astype(np.float64)
    larger = np.maximum(untouched, behind)
    return (untouched - behind) / np.where(larger > 0, larger, 1)


def lifted(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Vectors of length one whose cosine to the axis of a group is score / sqrt(groups).

    Args:
        scores: (n, groups) float64, from -1 to 1.

    Returns:
        (n, groups + 1) float32.
    """
    scaled = scores / np.sqrt(scores.shape[1])
    rest = np.sqrt(np.maximum(0, 1 - (scaled**2).sum(axis=1)))
    return np.column_stack([scaled, rest]).astype(np.float32)


def axes(labels: NDArray[np.int64], groups: int) -> NDArray[np.float32]:
    """The vectors of queries, (n, groups + 1) float32: the axis of the group of each."""
    return np.eye(groups + 1, dtype=np.float32)[labels]
