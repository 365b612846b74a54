"""Every refusal of a study before it trains, in the order in which they are asked.

1. The study file and its trials, while they are read (`config.load`, `trials.expand`).
   Before them, the modules of the working folder (`host.shadows`).
   After them, versions of libraries that an advisory names (`host.versions`).
2. `check_here`: what this machine alone can tell in seconds; no network, no engine, nothing
   written. `show` and `arrange` ask it, too; `arrange` then asks its own folder and the remote
   store (`study.arrange`).
3. `check_before_ray`: that, and what only a run needs: the hub, the remote store, packages, GPUs.
   `estimate` asks it, too, then for data that is small (`study.estimate`), and whether the
   optimizer counts all weights (`estimate.memory`).
4. The data, while it is read (`Pipeline.read_data`).
5. `check_room`: the disks, against the estimate, as far as it is known; again after 7.
6. `check_with_ray`: the machines of the cluster, and the folders that they see.
7. `check_fetched`: models that had to be fetched, their memory and their templates.
8. Rows that cannot be fed as they are, while they are tokenized (`training.proof`).

Engines are imported where they are asked: what needs none answers in a second.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from orchestrator import models
from orchestrator.config import Study, TrialConfig
from orchestrator.config.layout import Layout
from orchestrator.errors import ConfigError, ModelError, ResourceError
from orchestrator.estimate.stored import StoreLookup
from orchestrator.host.folders import ray_faults, written_faults
from orchestrator.host.versions import check_versions
from orchestrator.screen import Screen
from orchestrator.stages.own_vectors import file_faults
from orchestrator.storage.remote import check_remote_store
from orchestrator.study.fleet import (
    check_resources,
    check_this_machine,
    gangs_across_nodes,
    joins,
)
from orchestrator.study.model_checks import (
    check_templates,
    check_trainable,
    model_faults,
    model_folders,
    named_models,
)
from orchestrator.trials import Trial


def check_here(
    layout: Layout, trials: list[Trial], *, starts_ray: bool, training: bool = True
) -> None:
    """Refuse what this machine alone can tell.

    Args:
        layout: of the study.
        starts_ray: Ray is started here, and no cluster is joined.
        training: whether models are trained, and not only asked for vectors.

    Raises:
        ResourceError: libraries that an advisory names, and folders that cannot be written.
        ConfigError: models that are named wrongly, or that are here and cannot do what they are
            for, and files of vectors that cannot be read: all of them at once.
    """
    check_versions()
    check_folders(layout, starts_ray=starts_ray)
    faults = [*model_faults(trials, training=training), *vector_faults(trials)]
    if faults:
        raise ConfigError(faults)


def check_before_ray(study: Study, trials: list[Trial], layout: Layout) -> None:
    """Refuse what a run can know to be wrong before it starts anything.

    Raises:
        ConfigError: a search without its library; benchmarks that cannot be run; every model name
            that is wrong or that must not be read, and a remote store that cannot be listed.
        ResourceError: libraries that an advisory names, results where they would be lost, folders
            that cannot be written, and every setting that this machine cannot run.
    """
    check_versions()
    if study.sweep.search:
        from orchestrator.tune.optuna import check_search

        check_search(study)
    check_places(layout, starts_ray=not joins())
    check_names(trials, layout.store, study.remote_store)
    check_settings(trials)
    check_benchmarks(trial.config for trial in trials)
    check_this_machine(study, trials)


def check_with_ray(study: Study, trials: list[Trial], layout: Layout, screen: Screen) -> None:
    """Refuse what the machines of the cluster do not have, or do not see.

    Args:
        study: with the trials that run at once.
        trials: of the study.
        layout: its folders.
        screen: where trials are told that will wait for the network.

    Raises:
        ResourceError: naming what no machine has, or the folder that one of them does not see.
    """
    from orchestrator.study.cluster import check_storage
    from orchestrator.study.machines import fleet

    if machines := fleet():
        check_resources(study, trials, machines)
        for sentence in gangs_across_nodes(trials, machines):
            screen.tell(sentence)
    check_storage([layout.output, layout.store], model_folders(trials))


def check_room(study: Study, trials: list[Trial], layout: Layout) -> list[str]:
    """Refuse a study that will fill a disk, by what the store tells now that the data is read.

    Returns:
        What is less sure, for the user to know.

    Raises:
        ResourceError: each disk, what is free there and what the study takes.
    """
    from orchestrator.estimate.disk_room import check_disk

    return check_disk(study, trials, StoreLookup(layout.store))


def check_fetched(
    configs: list[TrialConfig], folder_of: Callable[[str], Path], screen: Screen, concurrent: int
) -> None:
    """Refuse models that cannot do what they are for or do not fit, now that they are here.

    Args:
        configs: of all trials.
        folder_of: model name -> its folder in the store.
        screen: where their memory, and what is odd about a template, is told.
        concurrent: trials that run at once, and share the memory of a host.

    Raises:
        ModelError: a model, or a template under which no answer could be learned.
        ResourceError: every model whose weights do not fit, or are more than its optimizer counts.
    """
    check_trainable(configs, folder_of, screen, concurrent)
    check_templates(configs, folder_of, screen)


def check_places(layout: Layout, *, starts_ray: bool) -> None:
    """Refuse results where they would be lost, and what `check_folders` refuses.

    Raises:
        ResourceError: naming the folders, each with what to type.
    """
    check_kept(layout.output, "--output /shared/outputs")
    check_kept(layout.store, "--set store=/shared/store")
    check_folders(layout, starts_ray=starts_ray)


def check_kept(folder: Path, advice: str) -> None:
    """Refuse results in the working folder of a job, where Ray unpacks and later removes it.

    Args:
        advice: what to type instead.

    Raises:
        ResourceError: naming the folder.
    """
    if "working_dir_files" in folder.parts:
        raise ResourceError(
            f"{folder} is a folder of the job, which ends with it: give one that all nodes share, "
            f"as in {advice}"
        )


def check_folders(layout: Layout, *, starts_ray: bool) -> None:
    """Refuse folders of results and of temporary files that cannot be written.

    Args:
        layout: of the study.
        starts_ray: Ray is started here, and no cluster is joined.

    Raises:
        ResourceError: all of them, each with what to type.
    """
    folders = {
        layout.output: "give another with --output DIR, or --set output=DIR",
        layout.folder: "give another with --output DIR, or --set output=DIR",
        layout.store: "give another with --set store=DIR",
    }
    faults = written_faults(folders)
    try:
        tempfile.gettempdir()
    except OSError:
        faults.append(
            "there is no folder for temporary files that can be written: set TMPDIR to one"
        )
    else:
        faults += ray_faults() if starts_ray else []
    if faults:
        raise ResourceError("\n".join(faults))


def check_names(trials: list[Trial], store: Path, remote_store: str | None) -> None:
    """Refuse models, vectors and a remote store that cannot be had, all of them at once.

    Raises:
        ConfigError: every model name that is wrong or that must not be read, every file of vectors
            that cannot be read, and a remote store that cannot be listed.
    """
    names = {pair for trial in trials for pair in named_models(trial.config).items()}
    faults = [*model_faults(trials), *vector_faults(trials)]
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


def vector_faults(trials: list[Trial]) -> list[str]:
    """What is wrong with the files of own vectors, before the data is read."""
    sections = dict.fromkeys(trial.config.embedding for trial in trials)
    return list(dict.fromkeys(fault for each in sections for fault in file_faults(each)))


def check_benchmarks(configs: Iterable[TrialConfig]) -> None:
    """Refuse benchmarks that could not be run, before anything is trained for them.

    Raises:
        ConfigError: what is wrong with the first that is wrong.
    """
    from orchestrator.training.evaluation.benchmarks import check_tasks

    asked = (config.evaluation.benchmarks for config in configs)
    for benchmarks in {each.model_dump_json(): each for each in asked if each}.values():
        check_tasks(benchmarks)


def check_settings(trials: list[Trial]) -> None:
    """Refuse settings that need a GPU or a package which this machine lacks.

    Raises:
        ResourceError: all of them.
    """
    from orchestrator.estimate.available import check_available

    missing = []
    for trial in trials:
        try:
            check_available(trial.config.model, trial.config.training)
        except ResourceError as error:
            missing.append(str(error))
    if missing:
        raise ResourceError("\n".join(dict.fromkeys(missing)))
