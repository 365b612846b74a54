"""Refusals of the models that a study names, before they are fetched and when they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.config.training import Training
from orchestrator.errors import ModelError, ResourceError
from orchestrator.screen import Screen
from orchestrator.stages.arrange import needs_of
from orchestrator.trials import Trial

if TYPE_CHECKING:
    from orchestrator.estimate.room import MachineMemory
    from orchestrator.estimate.shapes import ModelSizes


def model_faults(trials: list[Trial], *, training: bool = True) -> list[str]:
    """Models that are named wrongly, or that are here and cannot do what they are for.

    Args:
        training: also those that are trained and that score, not only those that embed.
    """
    faults: dict[str, None] = {}
    for config, key, name in _distinct((trial.config for trial in trials), training=training):
        try:
            models.validate_name(name)
        except ModelError as error:
            faults[f"{key}: {error}"] = None
            continue
        try:
            check_model_here(config, key, name)
        except ModelError as error:
            faults[str(error)] = None
    return list(faults)


def named_models(config: TrialConfig, *, training: bool = True) -> dict[str, str]:
    """The models that a trial names, by the key of the study file."""
    embedding = config.embedding
    named = {"embedding.model": embedding.model if embedding.vectors is None else ""}
    needs = needs_of(config.arrangement, config.seed)
    if training or needs.losses or needs.influence:
        named["model.name"] = config.model.reference
    if training:
        named["evaluation.generate.reward_model"] = config.evaluation.generate.reward_model or ""
    return {key: name for key, name in named.items() if name}


def model_folders(trials: list[Trial]) -> set[Path]:
    """Folders of the models that trials name by their path."""
    names = {name for trial in trials for name in named_models(trial.config).values()}
    return {Path(name).expanduser().resolve() for name in names if models.is_path(name)}


def check_model_here(config: TrialConfig, key: str, name: str) -> None:
    """Refuse a model that cannot do what a key of the study file wants of it.

    A model that has yet to be fetched passes: `check_all_fetched` asks again.
    """
    from orchestrator.estimate.fit import check_preset
    from orchestrator.training.templates import check_template, load_tokenizer

    if models.is_path(name):
        folder = Path(name).expanduser().resolve()
        check_model_files(config, key, folder)
        if key == "model.name":  # of fetched models `check_templates` asks it
            check_template(config.model.template, load_tokenizer(folder))
    elif key == "model.name" and name.startswith("random:"):
        check_preset(config.model, config.evaluation.max_length)


def check_all_fetched(
    configs: list[TrialConfig], folder_of: Callable[[str], Path], *, training: bool = True
) -> None:
    """What `model_faults` could not ask before the models were fetched.

    Args:
        configs: of all trials.
        folder_of: model name -> its folder in the store.
        training: as in `model_faults`.

    Raises:
        ModelError: what is wrong with the first that is wrong.
    """
    for config, key, name in _distinct(configs, training=training):
        if not (models.is_path(name) or name.startswith("random:")):
            check_model_files(config, key, folder_of(name))


def _distinct(
    configs: Iterable[TrialConfig], *, training: bool
) -> Iterator[tuple[TrialConfig, str, str]]:
    """The models that trials name, each once for a key and, of the trained one, its settings."""
    seen = set()
    for config in configs:
        for key, name in named_models(config, training=training).items():
            settings = (config.model.model_dump_json(), config.evaluation.max_length)
            asked = (key, name, settings if key == "model.name" else None)
            if asked not in seen:
                seen.add(asked)
                yield config, key, name


def check_model_files(config: TrialConfig, key: str, folder: Path) -> None:
    """Refuse a model whose files are there and that cannot do what a key wants of it.

    Raises:
        ModelError: what is wrong with it.
    """
    from orchestrator.estimate.fit import check_embedder, check_fit, check_tokenizer

    if key == "model.name":
        check_fit(config.model, folder, config.evaluation.max_length)
        return
    if key == "embedding.model" and config.embedding.of_tokens:
        length = config.embedding.max_length
        read = config.model.model_copy(update={"adapter": "none", "max_length": length})
        check_fit(read, folder, key=key)
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


def check_trainable(
    configs: list[TrialConfig],
    folder_of: Callable[[str], Path],
    screen: Screen,
    max_concurrent: int = 1,
) -> None:
    """Tell what memory the trials need, each distinct answer once; refuse what cannot fit.

    Args:
        configs: of all trials.
        folder_of: model name -> its folder in the store.
        screen: where it is told.
        max_concurrent: trials that run at once, and share the memory of a host.

    Raises:
        ModelError: a model that cannot do what it is for.
        ResourceError: every model whose weights do not fit, or are more than its optimizer counts.
    """
    from orchestrator.estimate.shapes import model_sizes
    from orchestrator.training.evaluation.reward import parameter_count

    scorers = {config.evaluation.generate.reward_model for config in configs} - {None}
    folders = {name: folder_of(name) for name in scorers if name}
    check_all_fetched(configs, folder_of)
    scored = {name: parameter_count(folder) for name, folder in folders.items()}
    trained = dict.fromkeys(config.model.reference for config in configs)
    sizes = {name: model_sizes(folder_of(name)) for name in trained}
    lines, faults, rooms = set(), [], {}
    for config in configs:
        name, scorer = config.model.reference, config.evaluation.generate.reward_model
        reward = scored[scorer] if scorer else 0
        training = config.training
        of = (training.workers, training.cpus_per_worker, training.gpus_per_worker,
              training.offload, *training.node_labels.items())  # fmt: skip
        if of not in rooms:
            rooms[of] = _room(training, min(max_concurrent, len(configs)))
        try:
            needed = _memory(config, sizes[name], reward, rooms[of])
        except ResourceError as error:
            faults.append(str(error))
            continue
        if (name, needed) not in lines:
            lines.add((name, needed))
            screen.line(f"memory {name}").done(needed)
    if faults:
        raise ResourceError("\n".join(dict.fromkeys(faults)))


def check_templates(
    configs: list[TrialConfig], folder_of: Callable[[str], Path], screen: Screen
) -> None:
    """Refuse templates under which no answer could be learned; tell what is odd about others.

    Args:
        configs: of all trials.
        folder_of: model name -> its folder in the store.
        screen: where it is told.

    Raises:
        ModelError: as `check_template`.
    """
    from orchestrator.training.templates import check_template, load_tokenizer

    for name, template in dict.fromkeys((c.model.reference, c.model.template) for c in configs):
        if odd := check_template(template, load_tokenizer(folder_of(name))):
            screen.tell(f"model {name}: {odd}", "note")


def _room(training: Training, trials: int) -> MachineMemory | None:
    """The memory of a machine that will hold ranks: this one, or a node of the cluster."""
    from orchestrator.study.fleet import joins

    if joins():
        from orchestrator.study.machines import memory_of_node

        return memory_of_node(training, trials)
    from orchestrator.estimate.room import machine_memory

    return machine_memory(training, trials)


def _memory(
    config: TrialConfig, sizes: ModelSizes | None, reward: int, room: MachineMemory | None
) -> str:
    from orchestrator.estimate.rank import check_partition, memory_of_rank
    from orchestrator.estimate.room import check_memory
    from orchestrator.training.device import precision_here

    if sizes is None:
        return "unknown: the model has no attention heads to reckon with"
    precision = precision_here(config.model, config.training)
    check_partition(config, sizes, precision)
    planned = partial(memory_of_rank, sizes=sizes, precision=precision, reward_parameters=reward)
    return check_memory(config, planned, room)
