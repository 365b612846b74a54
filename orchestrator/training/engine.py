"""The DeepSpeed engine around one causal language model.

DeepSpeed reads DS_ACCELERATOR when it is first imported, so it and transformers are imported
inside functions, after the environment is set.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.config.schema import Training


@dataclass(frozen=True)
class Device:
    """Where a rank computes, and in which arithmetic."""

    torch_device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        return "bfloat16" if self.dtype == torch.bfloat16 else "float32"


def pick_device(precision: str, *, gpu: bool) -> Device:
    """The rank's device; `precision: auto` is bfloat16 only where the hardware multiplies it."""
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if gpu else _cpu_multiplies_bfloat16()
        precision = "bfloat16" if fast else "float32"
    return Device(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)


def _cpu_multiplies_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def init_distributed(*, gpu: bool) -> tuple[int, int]:
    """Join the process group that the launcher made, or make one of this process alone.

    Returns:
        (rank, number of ranks).
    """
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    if not dist.is_initialized():
        if "MASTER_PORT" in os.environ:
            dist.init_process_group("nccl" if gpu else "gloo")
        else:
            os.environ["LOCAL_RANK"] = "0"
            dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    return dist.get_rank(), dist.get_world_size()


def build_engine(model_path: Path, training: Training, device: Device) -> Any:
    """The pretrained model under DeepSpeed with AdamW on float32 master weights.

    Args:
        model_path: local folder in transformers' format, safetensors.
        training: ZeRO stage, clipping and the optimizer's constants.
        device: of this rank.
    """
    import deepspeed
    from transformers import AutoModelForCausalLM
    from transformers.integrations import HfDeepSpeedConfig

    if device.torch_device.type == "cpu":
        # Otherwise the first trial compiles a shared-memory all-reduce for over a minute, and
        # needs a C++ compiler for it. gloo does the same.
        deepspeed.ops.__compatible_ops__ = {}
    config = deepspeed_config(training, device)
    # Kept alive while the model loads: transformers then loads ZeRO-3 weights in partitions.
    partitioned = HfDeepSpeedConfig(config) if training.zero_stage == 3 else None
    model = AutoModelForCausalLM.from_pretrained(
        model_path, dtype=device.dtype, use_safetensors=True, trust_remote_code=False
    )
    del partitioned
    torch.nn.Module.to(model, device.torch_device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=training.learning_rate,
        betas=(training.betas[0], training.betas[1]),
        eps=training.eps,
        weight_decay=training.weight_decay,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, config=config, dist_init_required=False
    )
    return engine


def deepspeed_config(training: Training, device: Device) -> dict[str, Any]:
    """DeepSpeed's own configuration.

    The batch sizes are formal: micro-batches vary in number and size, the loop marks the
    boundary of each global batch itself and scales the loss.
    """
    bf16 = device.dtype == torch.bfloat16
    # The plain float32 engine clips without telling the norm: `update` does it there.
    clip = None if _plain(training, device) else training.clip
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip or 0.0,
        "zero_optimization": {"stage": training.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        # DeepSpeed's unsharded engine accumulates in the model's own type and refuses another.
        "data_types": {"grad_accum_dtype": "fp32"} if training.zero_stage else {},
        "steps_per_print": 10**9,
    }


def update(engine: Any, training: Training, device: Device, learning_rate: float) -> float:
    """One optimizer step on the gradients that were accumulated.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        FloatingPointError: if that norm is not finite.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate
    if _plain(training, device):
        limit = training.clip or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(engine.module.parameters(), limit))
        if math.isfinite(norm):
            engine.step()
    else:
        engine.step()
        norm = float(engine.get_global_grad_norm())
    if not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradient is {norm}")
    return norm


def _plain(training: Training, device: Device) -> bool:
    return training.zero_stage == 0 and device.dtype == torch.float32
