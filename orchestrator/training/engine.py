"""The DeepSpeed engine around one causal language model: ZeRO, offload and the optimizer.

DeepSpeed reads its environment when it is first imported, so it is imported inside functions, after
`device.init_distributed` has set it.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from orchestrator.config.training import Training
from orchestrator.training.device import Device
from orchestrator.training.masters import start_masters

SOUND_STEPS = 1000  # without an overflow, after which the loss scale is doubled
NEVER = 10**9


def build_engine(model: torch.nn.Module, training: Training, device: Device, seed: int) -> Any:
    """The model under DeepSpeed with AdamW on float32 master weights.

    Args:
        model: on its device; the parameters that require a gradient are trained. Those that are
            float32 where the device computes in 16 bits are rounded, and are themselves the
            masters; the masters of the others are spread, see `masters.py`.
        training: ZeRO stage, offload, clipping and the optimizer's constants.
        device: of this rank.
        seed: of the trial; it determines how masters are spread.

    Returns:
        A `deepspeed.DeepSpeedEngine`.
    """
    import deepspeed

    masters = {}
    for name, parameter in model.named_parameters():
        whole = not hasattr(parameter, "ds_id")  # others were loaded in partitions, and rounded
        if parameter.requires_grad and parameter.dtype != device.dtype and whole:
            masters[name] = parameter.detach().clone()
            parameter.data = parameter.data.to(device.dtype)
    with _garbage_of_now():
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=_optimizer(model, training),
            config=deepspeed_config(training, device),
            dist_init_required=False,
        )
    start_masters(engine, masters, seed)
    if device.dtype == torch.float16:
        scaler = engine.optimizer.loss_scaler
        scaler.cur_scale = training.loss_scale or scaler.cur_scale
        # At the lowest scale DeepSpeed would raise without a word on the step: `update` does.
        scaler.raise_error_at_min_scale = False
    return engine


class FrozenEngine:
    """What an evaluation asks of an engine, around a model that no step will change."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.module = model

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)

    def eval(self) -> None:
        self.module.eval()

    def train(self) -> None:
        self.module.train()

    def zero_optimization_stage(self) -> int:
        """Returns 0: the weights are whole on every rank."""
        return 0


def frozen_engine(model: torch.nn.Module, training: Training, device: Device) -> Any:
    """The model as an evaluation takes it, without the memory of an optimizer.

    It computes as the engine of a trial does before its first step. Under ZeRO-3 the weights stay
    in partitions, as `load_model` left them, and what moves parameters off a GPU moves these.
    """
    model.requires_grad_(False)
    if training.zero_stage < 3:
        return FrozenEngine(model)
    import deepspeed

    config = deepspeed_config(training, device)
    config["zero_optimization"].pop("offload_optimizer", None)
    engine, *_ = deepspeed.initialize(model=model, config=config, dist_init_required=False)
    return engine


@contextmanager
def _garbage_of_now() -> Iterator[None]:
    """Collections of garbage look at no object that was there before the block.

    DeepSpeed collects several times while it builds an engine, to log the memory in use. With all
    the libraries that a rank imports, each would take a third of a second.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
    """DeepSpeed's stage for a trial: that of the study, but 1 instead of 0 in 16 bits.

    Its unsharded engines for 16 bits sum gradients in 16 bits, and the one for bfloat16 is not
    AdamW: it takes Adam's first step, weight decay and all, on zero gradients while it is built.
    Stage 1 does neither.
    """
    return training.zero_stage if precision == "float32" else max(training.zero_stage, 1)


def overlaps(training: Training, stage: int) -> bool:
    """Whether ranks sum gradients while the backward pass goes on, in two buckets by turns.

    Under ZeRO-3 DeepSpeed does so by itself, in one. A single rank has nothing to sum.
    """
    ours = stage == 2 and training.workers > 1 and training.offload == "none"
    return bool(training.deepspeed.get("zero_optimization", {}).get("overlap_comm", ours))


def deepspeed_config(training: Training, device: Device) -> dict[str, Any]:
    """DeepSpeed's own configuration, with `training.deepspeed` merged in.

    The batch sizes are formal: micro-batches vary in number and size, the loop marks the
    boundary of each global batch itself and scales the loss.
    """
    zero: dict[str, Any] = {"stage": zero_stage(training, device.precision)}
    if zero["stage"] < 3:
        zero["overlap_comm"] = overlaps(training, zero["stage"])
    if training.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": device.pinned}
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
        "bf16": {"enabled": device.dtype == torch.bfloat16},
        "fp16": {
            "enabled": device.dtype == torch.float16,
            "loss_scale": 0,  # dynamic
            "hysteresis": 1,  # a step that overflowed is repeated: at once with a lower scale
            # DeepSpeed raises the scale before it divides by it, and halves that step's gradient:
            # `update` raises it afterwards.
            "loss_scale_window": NEVER,
        },
        # Otherwise the sums of 16-bit gradients are rounded to 16 bits before the update: under
        # ZeRO-1 even on a single rank.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        # Its timer makes the host wait for the device at each step.
        "timers": {"throughput": {"enabled": False}},
        "steps_per_print": 10**9,
    }
    return _merged(ours, training.deepspeed)


def _merged(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Two mappings merged key by key at every depth: `added` wins, and neither is changed."""
    result = {key: _merged(value, {}) if isinstance(value, dict) else value
              for key, value in base.items()}  # fmt: skip
    for key, value in added.items():
        section = isinstance(value, dict)
        result[key] = _merged(result.get(key) or {}, value) if section else value
    return result


def update(engine: Any, training: Training, device: Device, learning_rate: float) -> float | None:
    """One optimizer step on the gradients that were accumulated.

    Returns:
        The norm of the gradient before clipping; None where it overflowed float16 at the present
        loss scale. Then nothing was updated, the gradients are gone and the scale is lower: the
        global batch has to be fed again.

    Raises:
        FloatingPointError: if the gradient is not finite, in float16 at a loss scale that cannot
            be lowered. Only float32 under ZeRO has updated the weights by then: the trial cannot
            go on with them.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = learning_rate
    if _plain(training, device):
        limit = training.clip or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(engine.module.parameters(), limit))
        if math.isfinite(norm):
            engine.step()
    else:
        scale = loss_scale(engine)
        engine.step()
        # In 16 bits DeepSpeed leaves such a step out, and tells the norm of the one before.
        norm = float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.nan
        if math.isnan(norm) and loss_scale(engine) < scale:
            if training.offload != "none" and training.zero_stage < 3:
                # DeepSpeed would add the next gradients to the sums that overflowed.
                for group in engine.optimizer.averaged_gradients:
                    engine.optimizer.averaged_gradients[group] = None
            return None
        if device.dtype == torch.float16:
            _raise_scale(engine.optimizer.loss_scaler, training)
    if not math.isfinite(norm):
        at = f" at the loss scale {loss_scale(engine):g}" if device.dtype == torch.float16 else ""
        raise FloatingPointError(f"the norm of the gradient is {norm}{at}")
    return norm


def _raise_scale(scaler: Any, training: Training) -> None:
    """The scale of the next step: the fixed one, or twice as high after enough sound steps."""
    sound = scaler.cur_iter - scaler.last_overflow_iter - 1
    if training.loss_scale is not None:
        scaler.cur_scale = training.loss_scale
    elif sound and sound % SOUND_STEPS == 0:
        scaler.cur_scale *= 2


def loss_scale(engine: Any) -> float:
    """What losses are multiplied by in float16, so that small gradients do not vanish; else 1."""
    return float(getattr(engine.optimizer, "loss_scale", 1.0))


def _plain(training: Training, device: Device) -> bool:
    return training.zero_stage == 0 and device.dtype == torch.float32
