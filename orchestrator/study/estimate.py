"""`orchestrator estimate`: what `run` would refuse, what is done, and what the rest will cost."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.estimate import Known, print_estimate
from orchestrator.estimate.disk_room import check_disk
from orchestrator.estimate.memory import reward_parameters, trained_sizes
from orchestrator.estimate.rank import memory_of_rank
from orchestrator.estimate.small import made_in, own_vectors_are_small
from orchestrator.estimate.speed import check_gpu
from orchestrator.estimate.stored import StoreLookup
from orchestrator.screen import print_text
from orchestrator.stages.arrange import needs_of
from orchestrator.stages.dataset import check_sizes
from orchestrator.stages.given import listed_rows
from orchestrator.stages.own_vectors import own_vectors_spec
from orchestrator.study.checks import check_before_ray
from orchestrator.study.fleet import joins
from orchestrator.study.identity import outcome_before
from orchestrator.trials import Trial, expand
from orchestrator.trials.proxy import proxies


def estimate_study(study: Study, console: Console, gpu: str | None, price: float | None) -> None:
    """Print what a study will cost, and refuse what `run` refuses before Ray starts.

    What this machine lacks is refused behind the estimate: the study may be for another one. Of the
    memory only weights that are trained on this machine are asked.

    Args:
        study: with all its trials.
        console: where it is printed.
        gpu: name of the GPU whose speed is reckoned with; None: this machine's.
        price: of a GPU hour; None: money is not told.

    Raises:
        UserError: as `run`, of data as far as it is small or in the store.
    """
    if gpu is not None:
        check_gpu(gpu)
    layout, trials = Layout.of(study), expand(study)
    cheaper = [trial for proxy in proxies(study) for trial in expand(proxy)]
    refused = []
    try:
        check_before_ray(study, [*trials, *cheaper], layout)
    except ResourceError as error:
        refused.append(str(error))
    with tempfile.TemporaryDirectory(prefix="orchestrator-estimate-") as scratch:
        store = StoreLookup(layout.store, Path(scratch))
        check_data(trials, store, Path(scratch))
        done = [trial.name for trial in trials if outcome_before(trial, layout, store).ended]
        print_estimate(study, console, Known(store, frozenset(done), gpu, price))
        refused += memory_faults(study, trials, store)
        try:
            remarks = check_disk(study, trials, store)
        except ResourceError as error:
            refused.append(str(error))
        else:
            for sentence in remarks:
                print_text(console, f"warning {escape(sentence)}")
    if refused:
        raise ResourceError("\n".join(refused))


def check_data(trials: list[Trial], store: StoreLookup, scratch: Path) -> None:
    """Refuse data that cannot be trained on, as `Pipeline.read_data`, where it need not be long.

    Raises:
        DataError: as there.
    """
    for config in (trial.config for trial in trials):
        dataset = store.dataset(config.data)
        if dataset is None:
            continue
        check_sizes(config, dataset.info["splits"]["pool"])
        if own_vectors_are_small(config.embedding) and store.embeddings(config) is None:
            made_in(scratch, own_vectors_spec(dataset, config.embedding))
        if needs_of(config.arrangement, config.seed).listed:
            listed_rows(config.arrangement, config.data, dataset)


def memory_faults(study: Study, trials: list[Trial], store: StoreLookup) -> list[str]:
    """What `check_fetched` would refuse of models whose shape is known and that are trained here:
    weights that alone do not fit the memory."""
    from orchestrator.estimate.room import check_memory, machine_memory
    from orchestrator.training.device import precision_here

    faults: dict[str, None] = {}
    at_once = min(study.sweep.max_concurrent, len(trials))
    for config in (trial.config for trial in trials):
        sizes = trained_sizes(config, store)
        room = None if joins() else machine_memory(config.training, at_once)
        if sizes is None or room is None:
            continue
        precision = precision_here(config.model, config.training)
        reward = reward_parameters(config, store) or 0
        planned = partial(
            memory_of_rank, sizes=sizes, precision=precision, reward_parameters=reward
        )
        try:
            check_memory(config, planned, room)
        except ResourceError as error:
            faults[str(error)] = None
    return list(faults)
