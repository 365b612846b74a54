"""What is trained beside a frozen model: the types of `model.adapter.type`, a row each.

LoRA (arXiv 2106.09685): W + (alpha / r) B A with W frozen; QLoRA (arXiv 2305.14314) holds W in 4
bits. Whoever estimates, checks, loads or evaluates a model asks the row; nobody else knows a type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError

if TYPE_CHECKING:  # the estimate asks here, too, and has no seconds for an engine
    import torch

    from orchestrator.training.device import Device

Linear = tuple[str, int, int]  # name, inputs and outputs of a linear layer


@dataclass(frozen=True)
class AdapterType:
    """What a type of adapter needs, and how it is put beside a model; by default not at all.

    Attributes:
        attach: (model, settings of the adapter, device) -> the model with a new adapter, all else
            frozen.
        parameters: (settings of the adapter, the model's linear layers) -> numbers that it adds.
        gpu: whether it runs on a GPU only.
        package: what has to be installed for it, besides what this project always needs.
        frozen_bits: of each weight of a frozen linear layer; None for those of the arithmetic.
        max_zero_stage: highest stage of ZeRO that it can be trained under.
        quantisation: device -> how transformers shall quantise the frozen weights; None for not
            at all.
    """

    attach: Callable[[Any, Any, Device], torch.nn.Module] = lambda module, adapter, device: module
    parameters: Callable[[Any, Iterable[Linear]], int] = lambda adapter, linears: 0
    gpu: bool = False
    package: str | None = None
    frozen_bits: int | None = None
    max_zero_stage: int = 3
    quantisation: Callable[[Device], Any] = lambda device: None


def adapter_type(adapter: str | Lora) -> AdapterType:
    """Returns the row of the table `ADAPTERS` that a study's `model.adapter` names."""
    return ADAPTERS[adapter.type if isinstance(adapter, Lora) else adapter]


def _nf4(device: Device) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=device.dtype,
    )


def _with_lora(module: Any, adapter: Lora, device: Device) -> torch.nn.Module:
    """The frozen model with a new LoRA, drawn on the CPU in float32 whatever the arithmetic.

    Raises:
        ModelError: a target that no linear layer has.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    if isinstance(adapter.targets, list):
        _check_targets(module, adapter.targets)
    adapted = wrapped(module, adapter)
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


def wrapped(module: Any, adapter: Lora) -> Any:
    """The model with peft's adapter beside its layers, whose numbers have the layers' dtype."""
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=adapter.r,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # only ever divided by r
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
    )
    return get_peft_model(module, config, autocast_adapter_dtype=False)


def _lora_parameters(adapter: Lora, linears: Iterable[Linear]) -> int:
    """r (inputs + outputs) for each layer that it sits beside."""
    return sum(
        adapter.r * (inputs + outputs)
        for name, inputs, outputs in linears
        if adapter.targets == "all-linear"
        or any(f".{name}".endswith(f".{target}") for target in adapter.targets)
    )


# Each name that `model.adapter` or its `type` may have (`config.training`).
ADAPTERS = {
    "none": AdapterType(),  # all weights are trained
    "lora": AdapterType(_with_lora, _lora_parameters),
    "qlora": AdapterType(
        _with_lora,
        _lora_parameters,
        gpu=True,
        package="bitsandbytes",
        frozen_bits=4,
        max_zero_stage=2,  # ZeRO-3 cannot share out packed weights
        quantisation=_nf4,
    ),
}


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
