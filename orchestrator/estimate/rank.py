"""What a rank will hold in memory, computed from the model's shape before anything is loaded.

Bytes a rank, for P parameters of which T are trained, e bytes a number of the arithmetic (2 or
4), N ranks, t tokens in a micro-batch, and a model of hidden width h, MLP width f, key width k,
a heads, vocabulary V:

- weights: e P, shared out over the ranks by ZeRO-3; 4-bit weights count half a byte;
- gradients: float32 sums, 4 T, shared out from ZeRO-2 on; below that e T more where e is 2;
- optimizer: float32 masters 4 T (none without ZeRO) and Adam's 8 T, or 2 T in 8 bits, shared out
  from ZeRO-1 on;
- activations: t (e (6 h + 2 k + 4 f) + 8 h) a layer, with eager attention 5 a t s more for rows of
  s tokens; this is the (34 + 5 a s / h) s b h of Korthikanti et al. (arXiv 2205.05198, section
  4.1) without dropout, for a gated MLP of any width, plus the float32 input of each of the two
  normalisations. With gradient checkpointing e t h a layer, and one layer in full. The loss adds
  t V (2 e + 8), as if every position were an answer's;
- buffers: DeepSpeed's bucket of gradients, from ZeRO-2 on 5e8 e, and a second one where ranks sum
  gradients during the backward pass; where e is 2 it is reduced over the ranks in a float32 copy,
  4 min(T, 5e8) more. Under ZeRO-1 the float32 copy alone; under ZeRO-3 also what is gathered,
  e min(P, 1e9). On a host a bucket takes what is written to it, of min(T, 5e8) numbers;
- a reward model: e a weight of it, although it is there only while it scores.

Offloaded to the host are masters, Adam's states, the gradient that these are updated by and, below
ZeRO-3, a buffer for the new weights: (16 + e) T, shared out, page-locked or not. In bfloat16 below
ZeRO-3 gradients are summed on the device, 4 T shared out, and ZeRO-1 has them there unshared, too;
otherwise they are summed on the host, in 4 T more, shared out. Offloaded weights are there in
addition.

An estimate for a warning: the allocator's fragmentation and CUDA's own half gigabyte are not in
it, and models without gated MLPs need less.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Model, Training
from orchestrator.errors import ResourceError
from orchestrator.estimate.shapes import ModelSizes
from orchestrator.training.adapters import adapter_type
from orchestrator.training.engine import overlaps, zero_stage

LARGEST_TENSOR = 2**31 - 1
SUB_GROUP = 10**9  # DeepSpeed's default: most weights that ZeRO-3 updates as one tensor
BUCKET, GATHERED = 5 * 10**8, 10**9  # DeepSpeed's defaults, in numbers
GIGABYTE = 1e9


@dataclass(frozen=True)
class RankMemory:
    """Bytes on the device of one rank, and what it offloads to its host."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    buffers: int
    reward_model: int
    host: int

    @property
    def device(self) -> int:
        """All that has to fit the device at once."""
        return sum(getattr(self, field.name) for field in fields(self)) - self.host

    def __str__(self) -> str:
        parts = [
            f"{field.name.replace('_', ' ')} {gigabytes(getattr(self, field.name))}"
            for field in fields(self)
            if getattr(self, field.name) and field.name != "host"
        ]
        host = f" and {gigabytes(self.host)} GB of its host" if self.host else ""
        return f"{gigabytes(self.device)} GB a rank ({', '.join(parts)}){host}"


def memory_of_rank(
    config: TrialConfig, sizes: ModelSizes, precision: str, reward_parameters: int = 0
) -> RankMemory:
    """Returns the bytes that one rank of a trial will hold.

    Args:
        config: of the trial.
        sizes: of its model.
        precision: `float32`, `bfloat16` or `float16`, the arithmetic of the rank's device.
        reward_parameters: of the model that scores answers; 0 where none does.
    """
    training, adapter = config.training, config.model.adapter
    number = 4 if precision == "float32" else 2
    stage = zero_stage(training, precision)
    adapted = sizes.adapted(adapter)
    trained = adapted or sizes.parameters
    weights = _weights(sizes, adapter_type(adapter).frozen_bits, number) + number * adapted
    weights = weights // training.workers if stage == 3 else weights
    buffers = _buckets(training, trained, number, stage) if stage else 0
    buffers += number * min(sizes.parameters + adapted, GATHERED) if stage == 3 else 0
    states = _states if training.offload == "none" else _offloaded_states
    gradients, optimizer, host = states(training, trained, number, stage)
    if training.offload == "parameters":
        host, weights = host + weights, 0
    if not training.gpus_per_worker:  # host and device are one
        host, optimizer = 0, optimizer + host
    activations = _activations(config, sizes, number)
    reward_model = number * reward_parameters
    return RankMemory(weights, gradients, optimizer, activations, buffers, reward_model, host)


def check_partition(config: TrialConfig, sizes: ModelSizes, precision: str) -> None:
    """Refuse 8-bit AdamW on more elements at once than it counts.

    bitsandbytes takes the number of a tensor's elements as a 32-bit integer, and below ZeRO-3
    DeepSpeed hands it all of a rank's masters as one tensor: beyond 2^31 - 1 the count is negative,
    and nothing, or something else, is updated.

    Raises:
        ResourceError: with the settings that help.
    """
    training, adapter = config.training, config.model.adapter
    stage = zero_stage(training, precision)
    trained = sizes.parameters if adapter == "none" else sizes.adapted(adapter)
    partition = -(-trained // training.workers)
    if stage == 3:
        zero = training.deepspeed.get("zero_optimization", {})
        partition = min(partition, int(float(zero.get("sub_group_size", SUB_GROUP))))
    if training.optimizer == "adamw_8bit" and stage and partition > LARGEST_TENSOR:
        raise ResourceError(
            f"training.optimizer: adamw_8bit counts up to {LARGEST_TENSOR:,} weights in a tensor, "
            f"and under ZeRO-{stage} each of {training.workers} workers has {partition:,} of "
            f"{config.model.name} in one: set training.zero_stage to 3 without sub_group_size, "
            f"training.workers to {-(-trained // LARGEST_TENSOR)} or more, or training.optimizer "
            "to adamw"
        )


def _buckets(training: Training, trained: int, number: int, stage: int) -> int:
    """Bytes of the buckets of gradients, and of the copy that is reduced over the ranks."""
    filled = min(trained, BUCKET)
    gradient = 4 if stage == 1 else number
    reduced = 4 if training.deepspeed.get("communication_data_type", "fp32") == "fp32" else 2
    buckets = 2 if stage < 3 and overlaps(training, stage) else 1
    bucket = BUCKET if training.gpus_per_worker and stage > 1 else filled
    return buckets * bucket * gradient + (0 if reduced == gradient else filled * reduced)


def _states(training: Training, trained: int, number: int, stage: int) -> tuple[int, int, int]:
    """Bytes of gradients, of the optimizer, and nothing on the host."""
    masters, moments = (4 if stage else 0), (2 if training.optimizer == "adamw_8bit" else 8)
    optimizer = (masters + moments) * trained // (training.workers if stage else 1)
    if stage >= 2:
        return 4 * trained // training.workers, optimizer, 0
    return (4 + (2 if number == 2 else 0)) * trained, optimizer, 0


def _offloaded_states(
    training: Training, trained: int, number: int, stage: int
) -> tuple[int, int, int]:
    """Bytes of gradients that stay on the device, nothing for the optimizer, and on the host."""
    summed_here = number == 2 and stage < 3
    gradients = (4 * trained // training.workers if summed_here else 0) + 4 * trained * (stage == 1)
    each = 16 + (number if stage < 3 else 0) + (0 if summed_here else 4)
    return gradients, 0, each * trained // training.workers


def _weights(sizes: ModelSizes, bits: int | None, number: int) -> int:
    """Bytes of all weights, those of linear layers in so many bits; None for those of the rest."""
    if bits is None:
        return number * sizes.parameters
    quantised = sum(inputs * outputs for _, inputs, outputs in sizes.linears)
    return quantised * bits // 8 + number * (sizes.parameters - quantised)


def _activations(config: TrialConfig, sizes: ModelSizes, number: int) -> int:
    model, hidden = config.model, sizes.hidden
    tokens = max(config.training.micro_batch_tokens, model.max_length)
    widths = 6 * hidden + 2 * sizes.key_width + 4 * sizes.intermediate
    layer = tokens * (number * widths + 8 * hidden)
    if model.attention == "eager":
        layer += 5 * sizes.heads * tokens * model.max_length
    loss = tokens * sizes.vocabulary * (2 * number + 8)
    if model.gradient_checkpointing:
        return sizes.layers * number * tokens * hidden + layer + loss
    return sizes.layers * layer + loss


def changed(config: TrialConfig, change: dict[str, Any]) -> TrialConfig:
    """The configuration with dotted keys set to other values."""
    for key, value in change.items():
        section, name = key.split(".")
        old: Model | Any = getattr(config, section)
        config = config.model_copy(update={section: old.model_copy(update={name: value})})
    return config


def gigabytes(count: int) -> str:
    """Bytes as gigabytes, to a tenth."""
    return f"{count / GIGABYTE:.1f}"
