"""What the seed of a trial decides once its plan is made: in the model, in training, in measuring.

A trial of which it decides nothing ends the same under every seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.schema import TrialConfig

# Parts of the names that settings of noise have in transformers: attention_dropout, resid_pdrop,
# layerdrop, router_jitter_noise, ...
NOISE = ("drop", "jitter", "noise")


def drawn_by_seed(config: TrialConfig, model: Path | None, precision: str | None) -> list[str]:
    """What a seed decides beside the plan, each as keys of the study file say it.

    Args:
        config: of the trial.
        model: folder of the model; None where it is not here: it is then taken for one that draws
            nothing itself.
        precision: the arithmetic of the trial; None where it is not known.
    """
    generate, found = config.evaluation.generate, []
    if config.model.adapter != "none":
        found.append("model.adapter: its first weights")
    elif precision != "float32":
        found.append(f"model.precision: {precision or 'auto'}, whose master weights are spread")
    if model is not None:
        found += [f"model.name: its {name}" for name in noise_of(model)]
    if config.evaluation.sample is not None:
        found.append("evaluation.sample: its items")
    if generate.every is not None and generate.max_items is not None:
        found.append("evaluation.generate.max_items: its items")
    return found


def noise_of(model: Path) -> list[str]:
    """Settings by which a model draws numbers in training, such as dropout, by its config.json.

    Args:
        model: folder in transformers' format.
    """
    settings: dict[str, Any] = json.loads((model / "config.json").read_bytes())
    if settings.get("model_type") != "llama":  # whose defaults draw nothing
        from transformers import AutoConfig

        settings = AutoConfig.from_pretrained(model, trust_remote_code=False).to_dict()
    return [f"{key} {value:g}" for key, value in _numbers(settings)
            if value > 0 and any(part in key for part in NOISE)]  # fmt: skip


def varied_by(config: Mapping[str, Any]) -> str:
    """What to sweep in the place of a seed that decides nothing, as words for users.

    Args:
        config: of a trial, as JSON.
    """
    pool, arrangement = config["data"]["pool"], config["arrangement"]
    if isinstance(pool, list):
        words = "the seed of a source of data.pool, beside its rows, weight or share"
    elif pool.get("max_per_task") is None:
        words = "data.pool.seed, beside data.pool.max_per_task"
    else:
        words = "data.pool.seed"
    clusters = isinstance(arrangement.get("granularity"), dict)
    return words + (", or arrangement.granularity.seed" if clusters else "")


def pairs_in_words(twins: Mapping[str, str]) -> str:
    """Which trials are as which other ones, such as "b and c as a"; by name, twin -> first one."""
    by_first: dict[str, list[str]] = {}
    for twin, first in twins.items():
        by_first.setdefault(first, []).append(twin)
    return "; ".join(f"{' and '.join(names)} as {first}" for first, names in by_first.items())


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, value
