"""One global batch through the engine: its gradients, and the proof of what was fed.

A micro-batch that does not fit into memory in its forward pass has left no gradient behind: the
rows not yet fed are split again with half the token budget, and nothing that is computed changes.
In a backward pass it has: see `budget.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from orchestrator.config.schema import TrialConfig
from orchestrator.errors import OrderError, TrainingError
from orchestrator.training.batches import (
    Batch,
    MicroBatch,
    collate,
    grouped,
    moved,
    positions,
)
from orchestrator.training.budget import MAX_HALVINGS, TokenBudget
from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.heartbeat import beat
from orchestrator.training.losses import micro_batch_numbers, row_weights, token_losses
from orchestrator.training.memory import exhausted, for_next_attempt, free, out_of_memory
from orchestrator.training.tokens import Tokens


@dataclass(frozen=True)
class FedBatch:
    """A global batch after its backward passes.

    Attributes:
        loss: of the global batch, in nats.
        padded_tokens: positions that went through the model on all ranks, padding among them.
        useful_share: tokens of the global batch, as a share of what all ranks could have put
            through the model while the slowest did.
        rows: those that this rank put through the model.
        halvings: times that memory ran out, and the token budget was halved.
    """

    loss: float
    padded_tokens: int
    useful_share: float
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
        *,
        packed: bool,
    ) -> None:
        self._engine = engine
        self._tokens = tokens
        self._config = config
        self._device = device
        self._rank, self._ranks = dist.get_rank(), dist.get_world_size()
        self._budget = budget
        self._packed = packed
        # Of the hosts, so that no device has to come to its end first.
        several, wait = self._ranks > 1 and device.type == "cuda", timedelta(seconds=WAIT_SECONDS)
        self._host_group = dist.new_group(backend="gloo", timeout=wait) if several else None

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
        # What is computed on the device stays there until the step ends: the host runs ahead.
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        computed = np.zeros(self._ranks, np.int64)
        fed: list[int] = []
        done, halvings = 0, self._budget.halvings
        while done < len(shares[0]):
            micro_batch = shares[self._rank][done]
            loss = self._forward(step, micro_batch, weights)
            beat()  # before it waits for others
            if self._any_rank(loss is None):
                self._halve(step, rows)
                left = [m.rows for share in shares for m in share[done:] if not m.filler]
                shares, done = self._split(np.concatenate(left)), 0
                continue
            assert loss is not None
            computed += [
                positions(self._tokens.lengths[share[done].rows], packed=self._packed)
                for share in shares
            ]
            done += 1
            self._backward(step, loss, last=done == len(shares[0]))
            total += loss.detach()
            if not micro_batch.filler:
                fed += micro_batch.rows.tolist()
        dist.all_reduce(total)
        useful = self._tokens.lengths[rows].sum() / (self._ranks * computed.max())
        return FedBatch(
            float(total), int(computed.sum()), float(useful), fed, self._budget.halvings - halvings
        )

    def _split(self, rows: NDArray[np.int64]) -> list[list[MicroBatch]]:
        lengths, tokens = self._tokens.lengths, self._budget.tokens
        return grouped(rows, lengths, tokens, self._ranks, packed=self._packed)

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
        self, step: int, micro_batch: MicroBatch, weights: dict[int, float]
    ) -> torch.Tensor | None:
        """The micro-batch's share of the loss, or None where memory ran out."""
        weight = [0.0 if micro_batch.filler else weights[row] for row in micro_batch.rows.tolist()]
        try:
            batch = collate(self._tokens, micro_batch.rows, packed=self._packed)
            check_fed(batch, self._tokens, micro_batch.rows)
            of_tokens = torch.as_tensor(np.array(weight, np.float32)[batch.owners])
            losses = token_losses(self._engine, batch.to(self._device))
            return (losses * moved(of_tokens, self._device)).sum()
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if self._config.training.zero_stage == 3:
                # Weights are gathered layer by layer: the other ranks wait inside the pass.
                where, training = "in a forward pass under ZeRO 3", self._config.training
                raise for_next_attempt(step, training, self._budget, where) from error
            return None

    def _backward(self, step: int, loss: torch.Tensor, *, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        try:
            # DeepSpeed averages gradients over ranks; the loss is a sum over ranks.
            self._engine.backward(loss * self._ranks, scale_wrt_gas=False)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            where, training = "in a backward pass", self._config.training
            raise for_next_attempt(step, training, self._budget, where) from error

    def _any_rank(self, here: bool) -> bool:
        if self._ranks == 1 or self._config.training.zero_stage == 3:
            return here
        flag = torch.tensor(int(here))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._host_group)
        return bool(flag)

    def _halve(self, step: int, rows: NDArray[np.int64]) -> None:
        if self._config.training.loss == "authors":
            where = "and training.loss: authors depends on the split"
            raise exhausted(step, self._budget, where)
        if self._budget.exhausted:
            longest = int(self._tokens.lengths[rows].max())
            where = f"after {MAX_HALVINGS} halvings; the longest row has {longest} tokens"
            raise exhausted(step, self._budget, where)
        self._budget.halve(write=self._rank == 0)
        free()


def check_fed(batch: Batch, tokens: Tokens, rows: NDArray[np.int64]) -> None:
    """Prove that the tensors are the rows, token for token and mark for mark.

    The certificate rests on it: what is recorded as fed is what the model is really given,
    whoever made the tensors.

    Args:
        batch: in the host's memory.
        rows: (n,) int64 rows of the token table, in the batch's order.

    Raises:
        OrderError: naming the first row that differs.
    """
    ids, positions = (_flat(batch.inputs[name]) for name in ("input_ids", "position_ids"))
    read, ends, scored = _layout(batch)
    if len(ends) != len(rows) or not np.array_equal(ids[scored], _flat(batch.targets)):
        raise OrderError(f"the tensors made for rows {rows.tolist()} do not fit them")
    for i, row in enumerate(rows.tolist()):
        part = slice(tokens.starts[row], tokens.starts[row + 1])
        begin = max(0, ends[i] - (part.stop - part.start))
        if not (
            np.array_equal(ids[begin : ends[i]], tokens.ids[part])
            and np.array_equal(positions[begin : ends[i]], np.arange(ends[i] - begin))
            # A row's first token is foretold by none, whatever its mark.
            and np.array_equal(scored[batch.owners == i] - begin - 1, _marks(tokens, part))
            and read[begin : ends[i]].all()
            and not read[ends[i - 1] if i else 0 : begin].any()
        ):
            raise OrderError(f"the tensors made for row {row} are not its tokens and marks")


def _layout(batch: Batch) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[Any]]:
    """Of the positions of a batch, flattened, those that the model reads; where each row ends, and
    the positions whose tokens are scored."""
    inputs, width = batch.inputs, batch.inputs["input_ids"].shape[-1]
    if batch.places is None:
        ends = _flat(inputs["cu_seq_lens_q"])[1:]
        return np.ones(width, np.bool_), ends, _flat(inputs["logits_to_keep"]) + 1
    row, column = np.divmod(_flat(batch.places), inputs["logits_to_keep"])
    scored = row * width + width - inputs["logits_to_keep"] + column + 1
    read = _flat(inputs["attention_mask"]).astype(np.bool_)
    return read, np.arange(1, len(read) // width + 1) * width, scored


def _marks(tokens: Tokens, part: slice) -> NDArray[np.int64]:
    return np.flatnonzero(tokens.answer[part][1:])


def _flat(tensor: torch.Tensor) -> NDArray[Any]:
    return tensor.numpy().reshape(-1)
