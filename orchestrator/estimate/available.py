"""Whether this machine has what the settings ask for: asked before a study starts.

Loads no model and imports no engine.
"""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.config.training import Model, Training
from orchestrator.errors import ResourceError
from orchestrator.training.device import precision_here

MODULES = {
    "bitsandbytes": "bitsandbytes",
    "flash-attn": "flash_attn",
    "liger-kernel": "liger_kernel",
}


def check_available(model: Model, training: Training) -> None:
    """Refuse settings that need a GPU where there is none, or a package that is not installed.

    Raises:
        ResourceError: all of them, each with the setting to change.
    """
    qlora = model.adapter != "none" and model.adapter.type == "qlora"
    eight_bit = training.optimizer == "adamw_8bit"
    flash = model.attention == "flash_attention_2"
    precision = precision_here(model, training)
    faults = []
    for used, setting, instead, package in (
        (qlora, "model.adapter.type: qlora", "model.adapter.type to lora", "bitsandbytes"),
        (eight_bit, "training.optimizer: adamw_8bit", "training.optimizer to adamw",
         "bitsandbytes"),
        (flash, "model.attention: flash_attention_2", "model.attention to sdpa", "flash-attn"),
        (model.liger, "model.liger: true", "model.liger to false", "liger-kernel"),
        (precision == "float16", "model.precision: float16", "model.precision to float32", None),
    ):  # fmt: skip
        if used and training.gpus_per_worker == 0:
            faults.append(
                f"{setting} runs on a GPU only: set training.gpus_per_worker to 1, or {instead}"
            )
        elif used and package and find_spec(MODULES[package]) is None:
            faults.append(
                f"{setting} needs {package}, which is not installed: pip install {package}, or "
                f"set {instead}"
            )
    if flash and precision == "float32":
        faults.append(
            "model.attention: flash_attention_2 computes in 16 bits only, and model.precision: "
            f"{model.precision} is float32 here: set model.precision to bfloat16, or "
            "model.attention to sdpa"
        )
    if qlora and training.zero_stage == 3:
        faults.append(
            "model.adapter.type: qlora has 4-bit weights, which ZeRO-3 cannot share out: set "
            "training.zero_stage to 2, or model.adapter.type to lora"
        )
    if training.loss_scale is not None and precision != "float16":
        faults.append(
            f"training.loss_scale is {training.loss_scale:g}, and losses are scaled in float16 "
            f"only, not in {precision}: set model.precision to float16, or training.loss_scale to "
            "null"
        )
    if faults:
        raise ResourceError("\n".join(faults))
