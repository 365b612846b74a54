"""What can be known to be wrong with a study from this machine alone, in seconds.

`orchestrator estimate` and `orchestrator run` ask the same: no network is used, no engine is
started, and nothing is written. What needs one of them, `preflight` and `cluster` tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.errors import ConfigError, ModelError
from orchestrator.trials import Trial


def check_models_here(trials: list[Trial], *, training: bool = True) -> None:
    """Refuse models that are named wrongly, or that are here and cannot do what they are for.

    Args:
        training: also those that are trained and that score, not only those that embed.

    Raises:
        ConfigError: all of them at once.
    """
    if faults := model_faults(trials, training=training):
        raise ConfigError(faults)


def model_faults(trials: list[Trial], *, training: bool = True) -> list[str]:
    """The faults that `check_models_here` tells."""
    faults: dict[str, None] = {}
    for config, key, name in _distinct((trial.config for trial in trials), training=training):
        try:
            models.validate_name(name)
        except ModelError as error:
            faults[f"{key}: {error}"] = None
            continue
        try:
            check_here(config, key, name)
        except ModelError as error:
            faults[str(error)] = None
    return list(faults)


def named_models(config: TrialConfig, *, training: bool = True) -> dict[str, str]:
    """The models that a trial names, by the key of the study file."""
    named = {"embedding.model": config.embedding.model}
    if training:
        scorer = config.evaluation.generate.reward_model
        named |= {"model.name": config.model.name, "evaluation.generate.reward_model": scorer or ""}
    return {key: name for key, name in named.items() if name}


def check_here(config: TrialConfig, key: str, name: str) -> None:
    """Refuse a model that cannot do what a key of the study file wants of it.

    A model that has yet to be fetched passes: `check_all_fetched` asks again.
    """
    from orchestrator.estimate.fit import check_preset
    from orchestrator.training.templates import check_template, load_tokenizer

    if models.is_path(name):
        folder = Path(name).expanduser().resolve()
        check_fetched(config, key, folder)
        if key == "model.name":  # of fetched models `preflight.check_templates` asks it
            check_template(config.model.template, load_tokenizer(folder))
    elif key == "model.name" and name.startswith("random:"):
        check_preset(config.model)


def check_all_fetched(
    configs: list[TrialConfig], folder_of: Callable[[str], Path], *, training: bool = True
) -> None:
    """What `check_models_here` could not ask before the models were fetched.

    Args:
        configs: of all trials.
        folder_of: model name -> its folder in the store.
        training: as in `check_models_here`.

    Raises:
        ModelError: what is wrong with the first that is wrong.
    """
    for config, key, name in _distinct(configs, training=training):
        if not (models.is_path(name) or name.startswith("random:")):
            check_fetched(config, key, folder_of(name))


def _distinct(
    configs: Iterable[TrialConfig], *, training: bool
) -> Iterator[tuple[TrialConfig, str, str]]:
    """The models that trials name, each once for a key and, of the trained one, its settings."""
    seen = set()
    for config in configs:
        for key, name in named_models(config, training=training).items():
            asked = (key, name, config.model.model_dump_json() if key == "model.name" else "")
            if asked not in seen:
                seen.add(asked)
                yield config, key, name


def check_fetched(config: TrialConfig, key: str, folder: Path) -> None:
    """As `check_here`, of a model whose files are there.

    Raises:
        ModelError: what is wrong with it.
    """
    from orchestrator.estimate.fit import check_embedder, check_fit, check_tokenizer

    if key == "model.name":
        check_fit(config.model, folder)
        return
    if key == "embedding.model":
        check_embedder(folder, key)
    if key == "evaluation.generate.reward_model":
        from transformers import AutoModelForSequenceClassification

        from orchestrator.estimate.fit import check_weights
        from orchestrator.training.evaluation.reward import check_reward_model, has_own_head

        check_reward_model(folder)
        if not has_own_head(folder):
            check_weights(folder, AutoModelForSequenceClassification, f"{key}: {folder}")
    if (folder / "config.json").is_file():
        check_tokenizer(folder, key)
