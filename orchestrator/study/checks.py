"""What can be known to be wrong before a study trains, told before anything slow starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.errors import ConfigError, ModelError, ResourceError
from orchestrator.estimate.available import check_available
from orchestrator.estimate.rank import check_partition, memory_plan
from orchestrator.estimate.room import check_memory, find_room
from orchestrator.estimate.shapes import ModelSizes, model_sizes
from orchestrator.screen import Screen
from orchestrator.storage.remote import check_remote_store
from orchestrator.study.local import check_all_fetched, model_faults, named_models
from orchestrator.training.device import precision_here
from orchestrator.training.evaluation.reward import parameter_count
from orchestrator.training.templates import check_template, load_tokenizer
from orchestrator.trials import Trial


def check_settings(trials: list[Trial], store: Path, remote_store: str | None) -> None:
    """What cannot be fetched from elsewhere, and packages or GPUs that are missing, all at once.

    Raises:
        ConfigError: every model name that is wrong or that must not be read, and a remote store
            that cannot be listed.
        ResourceError: every setting that this machine cannot run.
    """
    names = {pair for trial in trials for pair in named_models(trial.config).items()}
    faults, missing = model_faults(trials), []
    for key, name in sorted(names):
        try:
            models.check_access(name, store)
        except ModelError as error:
            faults.append(f"{key}: {error}")
    faults = list(dict.fromkeys(faults))
    if remote_store:
        try:
            check_remote_store(remote_store)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    for trial in trials:
        try:
            check_available(trial.config.model, trial.config.training)
        except ResourceError as error:
            missing.append(str(error))
    if missing:
        raise ResourceError("\n".join(dict.fromkeys(missing)))


def model_folders(trials: list[Trial]) -> set[Path]:
    """Folders of the models that trials name by their path."""
    names = {name for trial in trials for name in named_models(trial.config).values()}
    return {Path(name).expanduser().resolve() for name in names if models.is_path(name)}


def check_models(
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
    scorers = {config.evaluation.generate.reward_model for config in configs} - {None}
    folders = {name: folder_of(name) for name in scorers if name}
    check_all_fetched(configs, folder_of)
    scored = {name: parameter_count(folder) for name, folder in folders.items()}
    trained = dict.fromkeys(config.model.name for config in configs)
    sizes = {name: model_sizes(folder_of(name)) for name in trained}
    told, faults = set(), []
    for config in configs:
        name, scorer = config.model.name, config.evaluation.generate.reward_model
        reward = scored[scorer] if scorer else 0
        try:
            needed = _memory(config, sizes[name], reward, min(max_concurrent, len(configs)))
        except ResourceError as error:
            faults.append(str(error))
            continue
        if (name, needed) not in told:
            told.add((name, needed))
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
    for name, template in dict.fromkeys((c.model.name, c.model.template) for c in configs):
        if told := check_template(template, load_tokenizer(folder_of(name))):
            screen.tell(f"model {name}: {told}", "note")


def _memory(config: TrialConfig, sizes: ModelSizes | None, reward: int, trials: int) -> str:
    if sizes is None:
        return "unknown: the model has no attention heads to reckon with"
    precision = precision_here(config.model, config.training)
    check_partition(config, sizes, precision)
    planned = partial(
        memory_plan,
        sizes=sizes,
        precision=precision,
        reward_parameters=reward,
    )
    return check_memory(config, planned, find_room(config.training, trials))
