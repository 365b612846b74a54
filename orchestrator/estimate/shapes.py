"""The shape of a causal language model, from its config.json: no weight is read.

The shape of a plain Llama is computed from the numbers in it: V h for each of the embedding and,
unless tied, the head; 2 h^2 + 2 h k + 3 h f + 2 h a layer, where heads together are h wide; h at
the end, with the letters of `memory`. Any other model is built without weights by transformers.
Importing it takes seconds, which `orchestrator estimate` does not have: it is imported only there.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.training import Lora
from orchestrator.errors import ModelError, first_line
from orchestrator.training.adapters import Linear, adapter_type

# Their forward has an attention_mask, and does not read it.
UNMASKED = ("rwkv",)
LLAMA_NUMBERS = {
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
}


@dataclass(frozen=True)
class ModelSizes:
    """The shape of a causal language model; widths and counts in numbers, not bytes.

    Attributes:
        parameters: all of them, tied ones once.
        linears: (name, inputs, outputs) of the linear layers that an adapter can sit beside; a
            layer of GPT-2 has the two widths the other way round.
        outputs: names of the output layer, beside which an adapter sits only where it is named.
        key_width: of keys and of values, all heads together.
    """

    parameters: int
    linears: tuple[Linear, ...]
    outputs: tuple[str, ...]
    layers: int
    hidden: int
    heads: int
    key_width: int
    intermediate: int
    vocabulary: int

    def adapted(self, adapter: str | Lora) -> int:
        """Parameters that an adapter adds."""
        return adapter_type(adapter).parameters(adapter, self.linears)


def model_sizes(folder: Path) -> ModelSizes | None:
    """The sizes of the model in a folder, from its config.json; no weight is read.

    Returns:
        None for a model without attention, as Mamba: these formulas do not describe it.

    Raises:
        ModelError: there is no such model, or it would read padding as if it were text.
    """
    return llama_sizes(json.loads((folder / "config.json").read_bytes())) or built_sizes(folder)


def llama_sizes(config: Mapping[str, Any]) -> ModelSizes | None:
    """The sizes of a Llama from what its config.json says, without torch.

    Returns:
        None for another architecture, biases, or numbers that are left to transformers' defaults.
    """
    biased = config.get("attention_bias") or config.get("mlp_bias")
    if config.get("model_type") != "llama" or biased or not config.keys() >= LLAMA_NUMBERS:
        return None
    hidden, width = config["hidden_size"], config["intermediate_size"]
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    head_width = config.get("head_dim") or hidden // heads
    keys = (config.get("num_key_value_heads") or heads) * head_width
    attention = [
        ("q_proj", hidden, heads * head_width),
        ("k_proj", hidden, keys),
        ("v_proj", hidden, keys),
        ("o_proj", heads * head_width, hidden),
    ]
    mlp = [("gate_proj", hidden, width), ("up_proj", hidden, width), ("down_proj", width, hidden)]
    linears = [
        (f"model.layers.{layer}.{part}.{name}", inputs, outputs)
        for layer in range(layers)
        for part, members in (("self_attn", attention), ("mlp", mlp))
        for name, inputs, outputs in members
    ]
    vocabulary = config["vocab_size"] * (1 if config.get("tie_word_embeddings") else 2)
    return ModelSizes(
        parameters=sum(inputs * outputs for _, inputs, outputs in linears)
        + vocabulary * hidden
        + (2 * layers + 1) * hidden,
        linears=tuple(linears),
        outputs=("lm_head",),
        layers=layers,
        hidden=hidden,
        heads=heads,
        key_width=keys,
        intermediate=width,
        vocabulary=config["vocab_size"],
    )


def built_sizes(folder: Path) -> ModelSizes | None:
    """Returns the sizes of a model of any architecture, which transformers builds without weights.

    What is returned and raised is as in `model_sizes`.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever its code raises, about numbers that do not go together
        raise ModelError(
            f"model.name: no causal language model can be built from {folder}/config.json: "
            f"{first_line(error)}"
        ) from error
    _check_mask(model, folder)
    text = config.get_text_config()
    heads, hidden = getattr(text, "num_attention_heads", None), text.hidden_size
    if heads is None:
        return None
    head_width = getattr(text, "head_dim", None) or hidden // heads
    output = model.get_output_embeddings()
    return ModelSizes(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linears=tuple(
            (name, int(module.weight.shape[1]), int(module.weight.shape[0]))
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear | Conv1D) and module is not output
        ),
        outputs=tuple(name for name, module in model.named_modules() if module is output),
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
