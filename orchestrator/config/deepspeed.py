"""Which of DeepSpeed's own keys `training.deepspeed` may not hold, and why.

One setting has one place: what a field of the study decides is refused here even where the two
agree. So is what would change the order of the data or the model, lose updates, or send a
password elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.config.faults import show

MASTERS = (
    "the masters of 16-bit weights are float32: an update that is smaller than half the spacing of "
    "its weight would be lost, at every step anew"
)
# Dotted key, with all that is below it -> what decides it, and what to type.
DECIDED_ELSEWHERE = {
    "train_batch_size": "set training.global_batch",
    "train_micro_batch_size_per_gpu": "set training.micro_batch_tokens",
    "gradient_accumulation_steps": (
        "it follows from training.global_batch and training.micro_batch_tokens"
    ),
    "gradient_clipping": "set training.clip",
    "optimizer": "set training.optimizer, learning_rate, betas, eps and weight_decay",
    "scheduler": "set training.schedule, warmup_steps and min_lr_ratio",
    "bf16.enabled": "set model.precision",
    "bf16.bf16_master_weights_and_grads": MASTERS,
    "bf16.bf16_optimizer_states": MASTERS,
    "fp16.enabled": "set model.precision",
    "fp16.auto_cast": "set model.precision",
    "fp16.loss_scale": "set training.loss_scale",
    "fp16.min_loss_scale": "the scale may fall to 1, and a gradient that overflows there is told",
    "fp16.hysteresis": "a step that overflows is repeated at once at half the scale",
    "fp16.consecutive_hysteresis": "a step that overflows is repeated at once at half the scale",
    "fp16.loss_scale_window": "the scale is doubled after 1,000 steps without an overflow",
    "fp16.fp16_master_weights_and_grads": MASTERS,
    "amp": "set model.precision",
    "torch_autocast": "set model.precision",
    "data_types": "gradients are summed in float32",
    "zero_optimization.stage": "set training.zero_stage",
    "zero_optimization.offload_optimizer.device": "set training.offload",
    "zero_optimization.offload_param.device": "set training.offload",
    "zero_optimization.mics_shard_size": "masters are shared out over all training.workers",
    "zero_optimization.zero_quantized_weights": "set model.precision",
    "zero_optimization.cpu_offload": "set training.offload",
    "zero_optimization.cpu_offload_params": "set training.offload",
    "curriculum_learning": "the plan alone decides what is trained on when, see arrangement",
    "data_efficiency": "the plan alone decides what is trained on when, see arrangement",
    "elasticity": "set training.global_batch and training.workers",
    "tensor_parallel": "all training.workers are data-parallel ranks",
    "sequence_parallel_size": "all training.workers are data-parallel ranks",
    "comet": "curves go to MLflow, see tracking",
    "csv_monitor": "curves go to MLflow, see tracking",
    "tensorboard": "curves go to MLflow, see tracking",
    "wandb": "curves go to MLflow, see tracking",
    "checkpoint.load_universal": "a trial continues from its own checkpoints, which are not such",
    "zero_allow_untested_optimizer": "set training.optimizer",
    "zero_force_ds_cpu_optimizer": "set training.optimizer",
    "progressive_layer_drop": "it leaves out layers at random: the losses were another model's",
    "compression_training": "it trains another model than model.name",
}


def contradictions(deepspeed: dict[str, Any]) -> list[str]:
    """A sentence for each key of `training.deepspeed` that may not be there."""
    faults = [
        f"leave {key} out: {why}" for key, why in DECIDED_ELSEWHERE.items() if _has(deepspeed, key)
    ]
    return faults + list(_not_sections(deepspeed))


def _not_sections(deepspeed: dict[str, Any]) -> Iterator[str]:
    """Sections that are filled in from fields of the study, and so have to be mappings."""
    for key in ("zero_optimization", "zero_optimization.offload_optimizer",
                "zero_optimization.offload_param", "bf16", "fp16"):  # fmt: skip
        value = _value(deepspeed, key)
        if _has(deepspeed, key) and not isinstance(value, dict):
            yield f"{key} is {show(value)}: give a mapping of DeepSpeed's keys"


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _has(tree: Any, key: str) -> bool:
    *parents, last = key.split(".")
    section = _value(tree, ".".join(parents)) if parents else tree
    return isinstance(section, dict) and last in section
