"""What is trained beside a frozen model: LoRA, over weights in 16 or in 4 bits.

LoRA (arXiv 2106.09685): W + (alpha / r) B A with W frozen; QLoRA (arXiv 2305.14314) holds W in 4
bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError

if TYPE_CHECKING:  # the estimate, which asks for targets here, is a matter of seconds
    import torch

    from orchestrator.training.device import Device


def four_bits(adapter: str | Lora, device: Device) -> Any:
    """How transformers shall quantise the frozen weights of a QLoRA; None for anything else."""
    if not isinstance(adapter, Lora) or adapter.type != "qlora":
        return None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )


def adapted(module: Any, adapter: Lora, device: Device) -> torch.nn.Module:
    """A frozen model with a new adapter, drawn on the CPU in float32 whatever the arithmetic.

    Raises:
        ModelError: a target that no linear layer has.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from peft.tuners.lora import LoraLayer

    if isinstance(adapter.targets, list):
        _check_targets(module, adapter.targets)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=adapter.r,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # only ever divided by r
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
    )
    adapted: Any = get_peft_model(module, config, autocast_adapter_dtype=False)
    torch.manual_seed(torch.initial_seed())  # loading may have drawn numbers, or not
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            # peft rounds what it draws to the dtype of the layer: drawn again, in float32.
            for part in (layer.lora_A, layer.lora_B):
                part.to("cpu", torch.float32)
            layer.reset_lora_parameters(adapted.active_adapter, True)
            for part in (layer.lora_A, layer.lora_B):
                part.to(device.torch_device)
    return adapted


def _check_targets(module: torch.nn.Module, targets: list[str]) -> None:
    import torch
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer

    kinds = (torch.nn.Linear, Conv1D)
    check_targets([n for n, part in module.named_modules() if isinstance(part, kinds)], targets)


def check_targets(linear: list[str], targets: list[str]) -> None:
    """Refuse a name that no linear layer has: peft takes what it finds, and passes over others.

    Args:
        linear: names of the model's linear layers.
        targets: of the adapter.

    Raises:
        ModelError: all unknown ones, and those that there are.
    """
    unknown = [
        target
        for target in targets
        if not any(name == target or name.endswith(f".{target}") for name in linear)
    ]
    if unknown:
        known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
        raise ModelError(
            f"model.adapter.targets: the model has no linear layer {', '.join(unknown)}. Type "
            f"all-linear, or some of {known}"
        )
