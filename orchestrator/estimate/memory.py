"""The memory of a rank, from the shape of its model.

The shape of a Llama is computed from the numbers of its config.json: V h for each of the
embedding and, unless tied, the head; 2 h^2 + 2 h k + 3 h f + 2 h a layer; h at the end, with the
letters of `training.memory`. Another architecture is built without weights by transformers,
which takes seconds to import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrialConfig
from orchestrator.estimate.stored import Store
from orchestrator.models.presets import PRESETS

if TYPE_CHECKING:
    from orchestrator.training.memory import MemoryPlan
    from orchestrator.training.sizes import ModelSizes


def rank_memory(config: TrialConfig, store: Store) -> MemoryPlan | None:
    """What a rank of a trial will hold; None until the model is fetched."""
    sizes = trained_sizes(config, store)
    if sizes is None:
        return None
    from orchestrator.training.device import pick_precision
    from orchestrator.training.memory import memory_plan

    gpu = config.training.gpus_per_worker > 0
    return memory_plan(config, sizes, pick_precision(config.model.precision, gpu=gpu))


def trained_sizes(config: TrialConfig, store: Store) -> ModelSizes | None:
    """The shape of the model that a trial trains; None until it is fetched."""
    name = config.model.name
    found = model_config(name, store)
    if found is None:
        return None
    sizes, folder = llama_sizes(found), store.model(name)
    return _built_sizes(folder) if sizes is None and folder is not None else sizes


def llama_sizes(config: Mapping[str, Any]) -> ModelSizes | None:
    """The shape of a Llama from its config.json; None of another architecture."""
    from orchestrator.training.sizes import ModelSizes

    if config["model_type"] != "llama" or config.get("attention_bias") or config.get("mlp_bias"):
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
        layers=layers,
        hidden=hidden,
        heads=heads,
        key_width=keys,
        intermediate=width,
        vocabulary=config["vocab_size"],
    )


def model_config(name: str, store: Store) -> Mapping[str, Any] | None:
    """The config.json of a model that is here, or that is made of a preset."""
    folder = store.model(name)
    if folder is not None and (folder / "config.json").is_file():
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        return config
    kind, _, preset = name.partition(":")
    return PRESETS.get(preset.partition(":")[0]) if kind == "random" else None


@cache
def _built_sizes(folder: Path) -> ModelSizes | None:
    from orchestrator.training.sizes import model_sizes

    return model_sizes(folder)
