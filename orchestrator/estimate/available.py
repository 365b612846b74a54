"""Whether this machine has what the settings ask for: asked before a study starts.

Loads no model and imports no engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from orchestrator.config.training import Lora, Model, Training
from orchestrator.errors import ResourceError
from orchestrator.training.adapters import adapter_type
from orchestrator.training.device import precision_here


class Requirement(NamedTuple):
    """What a setting asks of the machine.

    Attributes:
        setting: the key and its value.
        instead: key and value that ask for less, as in `model.liger to false`.
        package: that has to be installed; None for none.
        gpu: whether it runs on a GPU only.
    """

    setting: str
    instead: str
    package: str | None
    gpu: bool = True


def check_available(model: Model, training: Training) -> None:
    """Refuse settings that need a GPU where there is none, or a package that is not installed.

    Raises:
        ResourceError: all of them, each with the setting to change.
    """
    precision = precision_here(model, training)
    faults = []
    for need in _needs(model, training, precision):
        if need.gpu and training.gpus_per_worker == 0:
            faults.append(
                f"{need.setting} runs on a GPU only: set training.gpus_per_worker to 1, or "
                f"{need.instead}"
            )
        elif need.package and find_spec(need.package.replace("-", "_")) is None:
            faults.append(
                f"{need.setting} needs {need.package}, which is not installed: pip install "
                f"{need.package}, or set {need.instead}"
            )
    faults += _contradictions(model, training, precision)
    if faults:
        raise ResourceError("\n".join(faults))


def _needs(model: Model, training: Training, precision: str) -> Iterator[Requirement]:
    if isinstance(model.adapter, Lora):
        adapter = adapter_type(model.adapter)
        setting = f"model.adapter.type: {model.adapter.type}"
        yield Requirement(setting, "model.adapter.type to lora", adapter.package, adapter.gpu)
    if training.optimizer == "adamw_8bit":
        yield Requirement(
            "training.optimizer: adamw_8bit", "training.optimizer to adamw", "bitsandbytes"
        )
    if model.attention == "flash_attention_2":
        yield Requirement(
            "model.attention: flash_attention_2", "model.attention to sdpa", "flash-attn"
        )
    if model.liger:
        yield Requirement("model.liger: true", "model.liger to false", "liger-kernel")
    if precision == "float16":
        yield Requirement("model.precision: float16", "model.precision to float32", None)


def _contradictions(model: Model, training: Training, precision: str) -> list[str]:
    """Settings that no machine has together."""
    faults = []
    if model.attention == "flash_attention_2" and precision == "float32":
        faults.append(
            "model.attention: flash_attention_2 computes in 16 bits only, and model.precision: "
            f"{model.precision} is float32 here: set model.precision to bfloat16, or "
            "model.attention to sdpa"
        )
    adapter = adapter_type(model.adapter)
    if isinstance(model.adapter, Lora) and training.zero_stage > adapter.max_zero_stage:
        faults.append(
            f"model.adapter.type: {model.adapter.type} has {adapter.frozen_bits}-bit weights, "
            f"which ZeRO-{training.zero_stage} cannot share out: set training.zero_stage to "
            f"{adapter.max_zero_stage}, or model.adapter.type to lora"
        )
    if training.loss_scale is not None and precision != "float16":
        faults.append(
            f"training.loss_scale is {training.loss_scale:g}, and losses are scaled in float16 "
            f"only, not in {precision}: set model.precision to float16, or training.loss_scale to "
            "null"
        )
    return faults
