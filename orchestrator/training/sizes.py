"""The shape of a causal language model, from its config.json: no weight is read."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError

# Their forward has an attention_mask, and does not read it.
UNMASKED = ("rwkv",)


@dataclass(frozen=True)
class ModelSizes:
    """The shape of a causal language model; widths and counts in numbers, not bytes.

    Attributes:
        parameters: all of them, tied ones once.
        linears: (name, inputs, outputs) of the linear layers that an adapter can sit beside; a
            layer of GPT-2 has the two widths the other way round.
        key_width: of keys and of values, all heads together.
    """

    parameters: int
    linears: tuple[tuple[str, int, int], ...]
    layers: int
    hidden: int
    heads: int
    key_width: int
    intermediate: int
    vocabulary: int

    def adapted(self, adapter: Lora) -> int:
        """Parameters of a LoRA: r (inputs + outputs) for each layer it sits beside."""
        return sum(
            adapter.r * (inputs + outputs)
            for name, inputs, outputs in self.linears
            if adapter.targets == "all-linear"
            or any(f".{name}".endswith(f".{target}") for target in adapter.targets)
        )


def model_sizes(folder: Path) -> ModelSizes | None:
    """The sizes of the model in a folder, from its config.json; no weight is read.

    Returns:
        None for a model without attention, as Mamba: these formulas do not describe it.

    Raises:
        ModelError: the model would read padding as if it were text.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    _check_mask(model, folder)
    text = config.get_text_config()
    heads, hidden = getattr(text, "num_attention_heads", None), text.hidden_size
    if heads is None:
        return None
    head_width = getattr(text, "head_dim", None) or hidden // heads
    return ModelSizes(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linears=tuple(
            (name, int(module.weight.shape[1]), int(module.weight.shape[0]))
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D)
            and module is not model.get_output_embeddings()
        ),
        layers=text.num_hidden_layers,
        hidden=hidden,
        heads=heads,
        key_width=(getattr(text, "num_key_value_heads", None) or heads) * head_width,
        intermediate=getattr(text, "intermediate_size", None) or 4 * hidden,
        vocabulary=text.vocab_size,
    )


def _check_mask(model: Any, folder: Path) -> None:
    """Rows are padded on the left: a recurrent state would run over the padding first."""
    kind = model.config.model_type
    if kind in UNMASKED or "attention_mask" not in inspect.signature(model.forward).parameters:
        raise ModelError(
            f"model.name: {folder} is a {kind}, which knows no attention_mask: in a batch of rows "
            "of several lengths its losses would be those of the padding, too. Type the name of "
            "a model with attention"
        )
