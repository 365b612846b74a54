"""The DeepSpeed engine around one causal language model: ZeRO, offload and the optimizer.

DeepSpeed reads its environment when it is first imported, so it is imported inside functions, after
`device.init_distributed` has set it.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from orchestrator.config.training import Training
from orchestrator.training.device import Device


def build_engine(model: torch.nn.Module, training: Training, device: Device) -> Any:
    """The model under DeepSpeed with AdamW on float32 master weights.

    Args:
        model: on its device; the parameters that require a gradient are trained.
        training: ZeRO stage, offload, clipping and the optimizer's constants.
        device: of this rank.

    Returns:
        A `deepspeed.DeepSpeedEngine`.
    """
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=_optimizer(model, training),
        config=deepspeed_config(training, device),
        dist_init_required=False,
    )
    return engine


def _optimizer(model: torch.nn.Module, training: Training) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    constants: dict[str, Any] = {
        "lr": training.learning_rate,
        "betas": (training.betas[0], training.betas[1]),
        "eps": training.eps,
        "weight_decay": training.weight_decay,
    }
    if training.optimizer == "adamw_8bit":
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(trained, **constants)
    # Fused updates run on all cores of a host, too: DeepSpeed's own AdamW for offloaded states
    # has to be compiled before the first step.
    return torch.optim.AdamW(trained, **constants, fused=True)


def zero_stage(training: Training, precision: str) -> int:
    """DeepSpeed's stage for a trial in `float32` or `bfloat16`: not 0 in bfloat16.

    Its unsharded engine for bfloat16 is not AdamW: it takes Adam's first step, weight decay and
    all, on zero gradients while it is built, and sums gradients in bfloat16. Stage 1 does neither.
    """
    return max(training.zero_stage, 1) if precision == "bfloat16" else training.zero_stage


def deepspeed_config(training: Training, device: Device) -> dict[str, Any]:
    """DeepSpeed's own configuration, with `training.deepspeed` merged in.

    The batch sizes are formal: micro-batches vary in number and size, the loop marks the
    boundary of each global batch itself and scales the loss.
    """
    bf16 = device.dtype == torch.bfloat16
    zero: dict[str, Any] = {"stage": zero_stage(training, device.precision)}
    if training.offload != "none":
        # A pinned buffer takes the next power of two: 140 GB instead of 121 for seven billion.
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
    if training.offload == "parameters":
        pinned = device.torch_device.type == "cuda"
        zero["offload_param"] = {"device": "cpu", "pin_memory": pinned}
    # The plain float32 engine clips without telling the norm: `update` does it there.
    clip = None if _plain(training, device) else training.clip
    ours = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "steps_per_print": 10**9,
    }
    return _merged(ours, training.deepspeed)


def _merged(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Both, key by key at every depth; `added` wins, and neither argument is changed."""
    result = {key: _merged(value, {}) if isinstance(value, dict) else value
              for key, value in base.items()}  # fmt: skip
    for key, value in added.items():
        section = isinstance(value, dict)
        result[key] = _merged(result.get(key) or {}, value) if section else value
    return result


def update(engine: Any, training: Training, device: Device, learning_rate: float) -> float:
    """One optimizer step on the gradients that were accumulated.

    Returns:
        The norm of the gradient before clipping.

    Raises:
        FloatingPointError: if the gradient is not finite. Only float32 under ZeRO has updated
            the weights by then: the trial cannot go on with them.
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
        # In bfloat16 DeepSpeed leaves such a step out, and tells the norm of the one before.
        norm = float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.nan
    if not math.isfinite(norm):
        raise FloatingPointError(f"the norm of the gradient is {norm}")
    return norm


def _plain(training: Training, device: Device) -> bool:
    return training.zero_stage == 0 and device.dtype == torch.float32
