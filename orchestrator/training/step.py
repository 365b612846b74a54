"""One global batch through the engine: its gradients, and the proof of what was fed.

A micro-batch that does not fit into memory in its forward pass has left no gradient behind: the
rows not yet fed are split again with half the token budget, and nothing that is computed changes.
In a backward pass it has: see `budget.py`.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from orchestrator.config.schema import TrialConfig
from orchestrator.errors import OrderError, ResourceError, TrainingError
from orchestrator.training.batches import Batch, MicroBatch, collate, split
from orchestrator.training.budget import MAX_HALVINGS, TokenBudget
from orchestrator.training.losses import micro_batch_numbers, row_weights, token_losses
from orchestrator.training.tokens import Tokens


@dataclass(frozen=True)
class FedBatch:
    """A global batch after its backward passes.

    Attributes:
        loss: of the global batch, in nats.
        padded_tokens: that went through the model on all ranks.
        rows: those that this rank put through the model.
        halvings: times that memory ran out, and the token budget was halved.
    """

    loss: float
    padded_tokens: int
    rows: list[int]
    halvings: int


class Feeder:
    """Feeds global batches to the engine of one rank."""

    def __init__(
        self,
        engine: Any,
        tokens: Tokens,
        config: TrialConfig,
        device: torch.device,
        budget: TokenBudget,
    ) -> None:
        self._engine = engine
        self._tokens = tokens
        self._config = config
        self._device = device
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        self._budget = budget

    def feed(self, step: int, rows: NDArray[np.int64]) -> FedBatch:
        """Accumulate the gradients of the whole global batch.

        Args:
            step: for messages.
            rows: (n,) int64 rows of the global batch; every rank calls with all of them.

        Raises:
            TrainingError: if no row has an answer.
            OrderError: if the tensors made for the model are not those of the rows.
            ResourceError: if memory runs out and smaller micro-batches cannot help.
        """
        shares = self._split(rows)
        weights = self._weights(step, rows, shares)
        total = torch.zeros(2, dtype=torch.float64, device=self._device)
        fed: list[int] = []
        done, halvings = 0, self._budget.halvings
        while done < len(shares[0]):
            micro_batch = shares[self._rank][done]
            batch = collate(self._tokens, micro_batch.rows, self._device)
            check_fed(batch, self._tokens, micro_batch.rows)
            loss = self._forward(step, batch, micro_batch, weights)
            if self._any_rank(loss is None):
                self._halve(step, rows)
                left = [m.rows for share in shares for m in share[done:] if not m.filler]
                shares, done = self._split(np.concatenate(left)), 0
                continue
            assert loss is not None
            done += 1
            self._backward(step, loss, last=done == len(shares[0]))
            total += torch.tensor([loss.item(), batch.padded_tokens], dtype=total.dtype).to(total)
            if not micro_batch.filler:
                fed += micro_batch.rows.tolist()
        dist.all_reduce(total)
        return FedBatch(float(total[0]), int(total[1]), fed, self._budget.halvings - halvings)

    def _split(self, rows: NDArray[np.int64]) -> list[list[MicroBatch]]:
        return split(rows, self._tokens.lengths, self._budget.tokens, self._ranks)

    def _weights(
        self, step: int, rows: NDArray[np.int64], shares: list[list[MicroBatch]]
    ) -> dict[int, float]:
        counts, kind = self._tokens.answer_counts(rows), self._config.training.loss
        if not counts.any():
            raise TrainingError(
                f"step {step}: no row has an answer left within model.max_length = "
                f"{self._config.model.max_length} tokens. Rows {rows.tolist()}"
            )
        numbers = micro_batch_numbers(rows, shares) if kind == "authors" else None
        return dict(zip(rows.tolist(), row_weights(counts, kind, numbers).tolist(), strict=True))

    def _forward(
        self, step: int, batch: Batch, micro_batch: MicroBatch, weights: dict[int, float]
    ) -> torch.Tensor | None:
        """The micro-batch's share of the loss, or None where memory ran out."""
        try:
            losses = token_losses(self._engine, batch).sum(dim=1)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            if self._config.training.zero_stage == 3:
                # Weights are gathered layer by layer: the other ranks wait inside the pass.
                raise self._for_next_attempt(step, "in a forward pass under ZeRO 3") from error
            return None
        weight = [0.0 if micro_batch.filler else weights[row] for row in micro_batch.rows.tolist()]
        return (losses * torch.tensor(weight, device=self._device)).sum()

    def _backward(self, step: int, loss: torch.Tensor, *, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        try:
            # DeepSpeed averages gradients over ranks; the loss is a sum over ranks.
            self._engine.backward(loss * self._ranks, scale_wrt_gas=False)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            raise self._for_next_attempt(step, "in a backward pass") from error

    def _any_rank(self, here: bool) -> bool:
        if self._ranks == 1:
            return here
        flag = torch.tensor(int(here), device=self._device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def _halve(self, step: int, rows: NDArray[np.int64]) -> None:
        if self._config.training.loss == "authors":
            raise self._exhausted(step, "and training.loss: authors depends on the split")
        if self._budget.exhausted:
            longest = int(self._tokens.lengths[rows].max())
            raise self._exhausted(
                step, f"after {MAX_HALVINGS} halvings; the longest row has {longest} tokens"
            )
        self._budget.halve(write=self._rank == 0)
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _for_next_attempt(self, step: int, where: str) -> ResourceError:
        """Halve the budget for an attempt after this one, which ends."""
        if self._budget.exhausted or self._config.training.loss == "authors":
            return self._exhausted(step, where)
        failed = self._exhausted(step, f"{where}; the next attempt takes half")
        self._budget.halve(write=True)
        return failed

    def _exhausted(self, step: int, where: str) -> ResourceError:
        return ResourceError(
            f"step {step}: out of memory with micro-batches of {self._budget.tokens} tokens, "
            f"{where}. Set training.micro_batch_tokens to {max(1, self._budget.tokens // 2)} or "
            "fewer, lower model.max_length, or set model.gradient_checkpointing: true"
        )


def check_fed(batch: Batch, tokens: Tokens, rows: NDArray[np.int64]) -> None:
    """Prove that the tensors are the rows, token for token and mark for mark.

    The certificate rests on it: what is recorded as fed is what the model was really given,
    whoever made the tensors.

    Args:
        rows: (n,) int64 rows of the token table, in the batch's order.

    Raises:
        OrderError: naming the first row that differs.
    """
    ids, mask = (_array(batch.inputs[name]) for name in ("input_ids", "attention_mask"))
    answer = np.zeros(ids.shape, np.bool_)
    answer[:, ids.shape[1] - batch.answer.shape[1] :] = _array(batch.answer)
    targets = _array(batch.targets)
    if len(ids) != len(rows) or not np.array_equal(targets, ids[:, -targets.shape[1] :]):
        raise OrderError(f"the tensors made for rows {rows.tolist()} do not fit them")
    for i, row in enumerate(rows.tolist()):
        part, real = slice(tokens.starts[row], tokens.starts[row + 1]), mask[i].astype(np.bool_)
        if not (
            np.array_equal(ids[i, real], tokens.ids[part])
            and np.array_equal(answer[i, real], tokens.answer[part])
        ):
            raise OrderError(f"the tensors made for row {row} are not its tokens and marks")


def _array(tensor: torch.Tensor | int) -> NDArray[Any]:
    assert isinstance(tensor, torch.Tensor)
    return tensor.cpu().numpy()


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: some have a type for it, the CPU's a sentence."""
    refusals = ("not enough memory", "can't allocate memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        sentence in str(error) for sentence in refusals
    )
