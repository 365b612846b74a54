"""What of LLaMA-2-7B on GPUs can be checked on a machine that has none.

    python tests/benchmarks/presets_7b.py

For every preset of experiments/: the share of computed tokens that is useful on the slowest rank,
with rows packed and padded; the bytes that a forward pass of the real shape leaves for the backward
pass, traced on `cuda:0` beside what the plan says; and the pieces into which torch.compile breaks
the model, which fails above the number that is stated here. Last, MFU by arithmetic.

Tensors are fake (`FakeTensorMode`): they have a shape, a type and a device, and no content. All
operations run with the checks of their kernels, so that a tensor on the wrong device or of a wrong
type is refused as on a GPU. It needs torch's CUDA build (`pip install torch` on Linux), and no GPU.
Nothing here is a measurement of speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from llama2_7b import random_tokens
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AutoModelForCausalLM

from orchestrator.config import TrialConfig, load_study
from orchestrator.config.training import Lora
from orchestrator.estimate.rank import memory_of_rank
from orchestrator.estimate.shapes import ModelSizes, llama_sizes
from orchestrator.models.presets import preset_config
from orchestrator.training.adapters import wrapped
from orchestrator.training.attention import attend_packed
from orchestrator.training.batches import Batch, collate, grouped, positions
from orchestrator.training.device import Device
from orchestrator.training.losses import token_losses
from orchestrator.training.model import accelerate
from orchestrator.trials import expand

STUDIES = Path(__file__).resolve().parents[2] / "experiments"
GPU = Device(torch.device("cuda", 0), torch.bfloat16)
STEPS = 200  # global batches of the statistic

# Of the arithmetic, for an H100: FLOP/s in bfloat16, and bytes/s of its memory, of NVLink to the
# other GPUs, of page-locked and of pageable copies from the host, and of the host's memory.
PEAK, MEMORY, NVLINK, PINNED, PAGEABLE, HOST = 989e12, 3.35e12, 450e9, 50e9, 12e9, 150e9
# What forward and backward passes reach of the peak: LLM Foundry reports 46% for a 7B with all that
# a step costs besides, and without computing anything twice.
PASSES = 0.5


@dataclass(frozen=True)
class Preset:
    """A preset, the graphs into which torch.compile may break its model, and what it was before.

    Attributes:
        overlay: a file of experiments/; None: the studies as they are.
        graphs: at most; 1 is the whole model.
        before: ZeRO stage, gradient checkpointing, page-locked copies and tokens of a micro-batch
            of earlier versions, which padded their rows.
    """

    overlay: str | None
    graphs: int
    before: tuple[int, bool, bool, int]


PRESETS = {
    "full, 2 GPUs": Preset(None, 1, (3, True, True, 4096)),
    "full, 8 GPUs": Preset("llama2_7b_full_8gpu.yaml", 1, (3, True, True, 2048)),
    "full, 1 GPU, offload": Preset("llama2_7b_full_1gpu.yaml", 1, (2, True, False, 4096)),
    "LoRA, 1 GPU": Preset("llama2_7b_lora_1gpu.yaml", 1, (1, True, True, 4096)),
}


class Held(TorchDispatchMode):
    """The storages on the device that are made within the block and still alive."""

    def __init__(self) -> None:
        super().__init__()
        self._storages = WeakIdKeyDictionary()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cuda":
                self._storages[tensor.untyped_storage()] = None
        return made

    def bytes(self, model: torch.nn.Module) -> int:
        """All of them, but for the model's own, of which a block makes views."""
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        return sum(each.nbytes() for each in self._storages if each._cdata not in own)


def trial_of(preset: Preset) -> TrialConfig:
    overlays = [STUDIES / preset.overlay] if preset.overlay else []
    return expand(load_study(STUDIES / "tma_flan_mini.yaml", [], overlays))[0].config


def fake_model(config: TrialConfig, layers: int | None = None) -> torch.nn.Module:
    """LLaMA-2-7B as a rank has it, without content; within a `FakeTensorMode`."""
    shape = preset_config("llama-2-7b")
    shape.num_hidden_layers = layers or shape.num_hidden_layers
    with unset_fake_temporarily(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape, dtype=GPU.dtype)
        accelerate(model, config.model)
        if isinstance(config.model.adapter, Lora):
            model = wrapped(model, config.model.adapter)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            made = torch.empty(parameter.shape, dtype=GPU.dtype, device=GPU.torch_device)
            module._parameters[name] = torch.nn.Parameter(made, parameter.requires_grad)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty(
                buffer.shape, dtype=buffer.dtype, device=GPU.torch_device
            )
    attend_packed(model)
    return model.train()


def fake_batch(config: TrialConfig) -> Batch:
    """As many rows as the token budget takes, on the device."""
    budget = config.training.micro_batch_tokens
    tokens = random_tokens(64, 32000)
    rows = np.arange(np.searchsorted(tokens.starts, budget, side="right") - 1)
    batch = collate(tokens, rows, packed=True)
    inputs = {
        name: value.to(GPU.torch_device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.inputs.items()
    }
    return Batch(inputs, batch.targets.to(GPU.torch_device), None, batch.owners)


def activations(config: TrialConfig) -> int:
    """Bytes that a forward pass and its loss leave for the backward pass, traced."""
    with FakeTensorMode():
        model, batch = fake_model(config), fake_batch(config)
        with Held() as held:
            loss = token_losses(model, batch).sum()
        assert loss.device == GPU.torch_device
        return held.bytes(model)


def graphs(config: TrialConfig) -> int:
    """The pieces into which torch.compile breaks two layers of the model."""
    with FakeTensorMode():
        model, batch = fake_model(config, layers=2), fake_batch(config)
        torch._dynamo.reset()
        found = torch._dynamo.explain(model)(**batch.inputs, use_cache=False)
    for reason in found.break_reasons[:3]:
        print(f"    {reason.reason.splitlines()[0]}")
    return found.graph_count


def with_training(config: TrialConfig, **changes: int) -> TrialConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def useful_share(config: TrialConfig, *, packed: bool) -> float:
    """Tokens of a global batch, of what all ranks could compute while the slowest did; the mean."""
    batch, ranks = config.training.global_batch, config.training.workers
    budget = config.training.micro_batch_tokens
    lengths = random_tokens(batch * STEPS, 32000).lengths
    shares = []
    for step in range(STEPS):
        rows = np.arange(step * batch, (step + 1) * batch)
        groups = grouped(rows, lengths, budget, ranks, packed=packed)
        work = [sum(positions(lengths[m.rows], packed=packed) for m in share) for share in groups]
        shares.append(lengths[rows].sum() / (ranks * max(work)))
    return float(np.mean(shares))


def mfu(config: TrialConfig, sizes: ModelSizes, share: float, *, stage: int, again: bool,
        pinned: bool) -> float:  # fmt: skip
    """The share of the GPUs' peak that a step's real tokens are, by the bytes and FLOP of a step.

    Args:
        share: useful one of the computed tokens.
        stage: of ZeRO.
        again: whether the forward pass is computed twice.
        pinned: whether copies to and from the host are page-locked.
    """
    training, weights = config.training, sizes.parameters
    trained, ranks = sizes.adapted(config.model.adapter) or weights, training.workers
    tokens = 267 * training.global_batch
    passes = 6 if trained == weights else 4
    needed = passes * weights * tokens / (ranks * PEAK)
    computed = needed * (passes + 2 * again) / passes / share / PASSES
    if training.offload == "none":  # float32 gradient, master and two states, 16-bit weight
        update = trained / ranks * 30 / MEMORY
        # Gradients in float32 to their owners, weights in 16 bits back; ZeRO 3 fetches them twice.
        moved = trained * (4 + 2) + (2 * 2 * weights if stage == 3 else 0)
        update += moved * (ranks - 1) / ranks / NVLINK
    else:
        update = trained * (30 / HOST + (4 + 2) / (PINNED if pinned else PAGEABLE))
    return needed / (computed + update)


def main() -> None:
    sizes = llama_sizes(preset_config("llama-2-7b").to_dict())
    assert sizes is not None
    torch.set_num_threads(1)
    failed = []
    rows = []
    for name, preset in PRESETS.items():
        config = trial_of(preset)
        stage, again, pinned, tokens = preset.before
        packed = useful_share(config, packed=True)
        padded = useful_share(with_training(config, micro_batch_tokens=tokens), packed=False)
        planned = memory_of_rank(config, sizes, "bfloat16").activations / 1e9
        traced, pieces = activations(config) / 1e9, graphs(config)
        before = mfu(config, sizes, padded, stage=stage, again=again, pinned=pinned)
        after, at_64 = (
            mfu(
                each, sizes, useful_share(each, packed=True), stage=each.training.zero_stage,
                again=each.model.gradient_checkpointing, pinned=True,
            )
            for each in (config, with_training(config, global_batch=64))
        )  # fmt: skip
        rows.append(
            f"{name:<22} {padded:.3f} {packed:.3f}   {traced:5.1f} {planned:5.1f}   "
            f"{pieces:3d} ({preset.graphs})   {before:4.0%} {after:4.0%} {at_64:4.0%}"
        )
        if pieces > preset.graphs or traced > planned:
            failed.append(name)
    print(f"{'':<22} useful share   activations    graphs    MFU by arithmetic")
    print(f"{'preset':<22} padded packed  traced plan GB  (most)    before, now, at 64 rows a step")
    print("\n".join(rows))
    if failed:
        raise SystemExit(f"more graphs or bytes than stated: {', '.join(failed)}")


if __name__ == "__main__":
    main()
