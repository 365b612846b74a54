"""What a trial measures of its test sets: losses, those of the untouched model once for all
trials, and generated answers with their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from orchestrator.errors import TrainingError
from orchestrator.storage.artifacts import build, key_digest, sound
from orchestrator.training.adapters import adapter_type
from orchestrator.training.batches import collate, grouped
from orchestrator.training.budget import TokenBudget
from orchestrator.training.device import Device
from orchestrator.training.evaluation.generate import generated_scores
from orchestrator.training.evaluation.sampled import SetParts
from orchestrator.training.heartbeat import beat
from orchestrator.training.history import generation_table, loss_table
from orchestrator.training.losses import token_losses
from orchestrator.training.spec import Inputs, TrialSpec
from orchestrator.training.tokens import Tokens

BASELINE_VERSION = 2
Means = dict[str, float]


class Evaluator:
    """Evaluates one model on its test sets; every rank calls together and gets the same."""

    def __init__(
        self,
        spec: TrialSpec,
        inputs: Inputs,
        tokens: Tokens,
        engine: Any,
        device: Device,
        budget: TokenBudget,
        *,
        packed: bool,
    ) -> None:
        self._spec = spec
        self._inputs = inputs
        self._tokens = tokens
        self._engine = engine
        self._device = device
        self._budget = budget
        self._parts = SetParts(spec.config, inputs, tokens)
        compiled = spec.config.evaluation.compile and not spec.config.model.compile
        self._forward = torch.compile(engine.module, dynamic=True) if compiled else engine
        # On the CPU what is compiled would be compiled for each length.
        self._packed = packed and not (compiled and device.torch_device.type == "cpu")

    def losses(self, step: int) -> tuple[pa.Table, Means]:
        """Losses of every test set after a step, or of the part that is measured there.

        Returns:
            (a table of `LOSSES_SCHEMA`, the mean in nats of each set that has any loss, as
            `<set>_loss`; of a part it is that of the set, as far as the part tells).
        """
        tables, means = [], {}
        for name, (rows, weights) in self._parts.measured(step).items():
            losses = self._untouched(name, rows) if step == 0 else self._losses(rows)
            counts = self._tokens.answer_counts(rows)
            wrong = np.flatnonzero((counts > 0) & ~np.isfinite(losses))
            if len(wrong):
                raise TrainingError(
                    f"step {step}: the loss of {name} row {rows[wrong[0]]} is {losses[wrong[0]]}: "
                    "the model has diverged. Lower training.learning_rate"
                )
            tables.append(loss_table(step, name, rows, losses, counts, self._inputs))
            known = np.isfinite(losses)
            if known.any():
                mean = np.average(losses[known], weights=weights[known])
                means[f"{name}_loss"] = float(mean)
        return pa.concat_tables(tables), means

    def answers(self, step: int) -> tuple[pa.Table, Means]:
        """Generated answers to every test set, or its part that is answered, after a step.

        Returns:
            (a table of `GENERATIONS_SCHEMA`, the mean of each metric and set, as `<set>_<metric>`).
        """
        sets, spec = self._parts.answered, self._spec
        every = np.concatenate(list(sets.values()))
        scores = generated_scores(
            self._engine, self._tokens, every, spec, self._device, self._budget.tokens
        )
        tables, means, first = [], {}, 0
        for name, rows in sets.items():
            part = scores.slice(first, len(rows))
            first += len(rows)
            tables.append(generation_table(step, name, rows, part, self._inputs))
            for metric in spec.config.evaluation.generate.metrics:
                mean = pc.mean(part[metric]).as_py()
                if mean is not None:
                    means[f"{name}_{metric}"] = mean
        return pa.concat_tables(tables), means

    def _losses(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return instance_losses(
            self._forward, self._tokens, rows, self._budget.tokens, self._device.torch_device,
            packed=self._packed,
        )  # fmt: skip

    def _untouched(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Losses of a test set before the first step, kept in the store for all trials.

        A new adapter changes none of them, 4-bit weights do.
        """
        model = self._spec.config.model
        bits = adapter_type(model.adapter).frozen_bits
        key = {
            "version": BASELINE_VERSION,
            "model": self._spec.model_digest,
            "tokens": self._spec.measured_tokens[1],
            "set": name,
            "precision": self._device.precision,
            "device": self._device.torch_device.type,
            "packed": self._packed,
            "four_bits": {None: False, 4: True}.get(bits, bits),
        }
        path = self._spec.store / "baseline" / key_digest(key)[:16]
        # One rank looks, so that all ranks take the same branch.
        rank = dist.get_rank()
        kept = [sound(path) if rank == 0 else None]
        dist.broadcast_object_list(kept)
        if kept[0]:
            return np.load(path / "losses.npy", allow_pickle=False)
        losses = self._losses(rows)
        if rank == 0:
            build(self._spec.store, "baseline", key, lambda to: np.save(to / "losses.npy", losses))
        return losses


@torch.no_grad()
def instance_losses(
    model: Any,
    tokens: Tokens,
    rows: NDArray[np.int64],
    token_budget: int,
    device: torch.device,
    *,
    packed: bool,
) -> NDArray[np.float64]:
    """Mean cross-entropy of each instance's answer tokens, shared out over all ranks.

    Args:
        model: the DeepSpeed engine, or its compiled module; put back into training mode afterwards.
        rows: (n,) int64 rows of the token table.
        token_budget: tokens in one forward pass, with the padding where rows are not packed.
        packed: whether the model keeps rows apart that lie end to end.

    Returns:
        (n,) float64 on every rank, in nats; NaN where the answer was cut away.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    shares = grouped(np.arange(len(rows)), tokens.lengths[rows], token_budget, ranks, packed=packed)
    losses, owners = [torch.empty(0, device=device)], [np.empty(0, np.int64)]
    model.eval()
    for micro_batch in shares[rank]:
        batch = collate(tokens, rows[micro_batch.rows], packed=packed)
        # Left on the device until the last: the host runs ahead.
        found = token_losses(model, batch.to(device))
        beat()
        if not micro_batch.filler:
            losses.append(found)
            owners.append(micro_batch.rows[batch.owners])
    model.train()
    each = torch.cat(losses).cpu().numpy().astype(np.float64)
    sums = torch.as_tensor(np.bincount(np.concatenate(owners), each, len(rows)), device=device)
    dist.all_reduce(sums)
    counts = tokens.answer_counts(rows)
    return np.where(counts > 0, sums.cpu().numpy() / np.maximum(counts, 1), np.nan)
