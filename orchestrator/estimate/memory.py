"""The memory of a rank, from the shapes of its models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import TrialConfig
from orchestrator.errors import ResourceError
from orchestrator.estimate.shapes import ModelSizes, llama_sizes, model_sizes
from orchestrator.estimate.stored import StoreLookup
from orchestrator.models.presets import PRESETS

if TYPE_CHECKING:
    from orchestrator.estimate.rank import RankMemory


def rank_memory(config: TrialConfig, store: StoreLookup) -> RankMemory | None:
    """What a rank of a trial will hold; None until the model that is trained is fetched.

    A reward model that is not fetched yet is left out.
    """
    sizes = trained_sizes(config, store)
    if sizes is None:
        return None
    from orchestrator.estimate.rank import memory_of_rank
    from orchestrator.training.device import precision_here

    precision = precision_here(config.model, config.training)
    return memory_of_rank(config, sizes, precision, reward_parameters(config, store) or 0)


def optimizer_faults(configs: Iterable[TrialConfig], store: StoreLookup) -> list[str]:
    """Lists what `check_partition` refuses of the models whose shapes are known."""
    counting = [config for config in configs if config.training.optimizer == "adamw_8bit"]
    if not counting:  # most studies: nothing is imported for them
        return []
    from orchestrator.estimate.rank import check_partition
    from orchestrator.training.device import precision_here

    faults: dict[str, None] = {}
    for config in counting:
        sizes = trained_sizes(config, store)
        if sizes is None:
            continue
        try:
            check_partition(config, sizes, precision_here(config.model, config.training))
        except ResourceError as error:
            faults[str(error)] = None
    return list(faults)


def reward_parameters(config: TrialConfig, store: StoreLookup) -> int | None:
    """Parameters of the model that scores answers; 0 where none does, None until it is fetched."""
    name = config.evaluation.generate.reward_model
    if name is None:
        return 0
    folder = store.model(name)
    return None if folder is None else _parameter_count(folder)


def trained_sizes(config: TrialConfig, store: StoreLookup) -> ModelSizes | None:
    """The shape of the model that a trial trains; None until it is fetched."""
    folder = store.model(config.model.reference)
    if folder is not None:
        return _model_sizes(folder)
    preset = _preset(config.model.name)
    return llama_sizes(preset) if preset else None


def model_config(name: str, store: StoreLookup) -> Mapping[str, Any] | None:
    """The config.json of a model that is here, or that is made of a preset."""
    folder = store.model(name)
    if folder is None:
        return _preset(name)
    config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    return config


def _preset(name: str) -> Mapping[str, Any] | None:
    kind, _, preset = name.partition(":")
    return PRESETS.get(preset.partition(":")[0]) if kind == "random" else None


# Trials share their models, and each is read once.
_model_sizes = cache(model_sizes)


@cache
def _parameter_count(folder: Path) -> int:
    from orchestrator.training.evaluation.reward import parameter_count

    return parameter_count(folder)
