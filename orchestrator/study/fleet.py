"""What a study may run on, as arithmetic: machines of some resources, and whether trials fit them.

Ray is not imported here: what this machine lacks is told before it starts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.config import Study, TrialConfig
from orchestrator.config.training import Training
from orchestrator.errors import ResourceError
from orchestrator.host.share import cores
from orchestrator.trials import Trial

# "spot", "!spot", "in(H100, A100)", "!in(H100)": Ray's label selectors.
SELECTOR = re.compile(r"(?P<unless>!?)(?:(?:in)?\((?P<several>.*)\)|(?P<one>.*))")


@dataclass(frozen=True)
class Machines:
    """Nodes of one kind.

    Attributes:
        resources: of each, by Ray's name of it.
        labels: of each.
        count: how many there are, or may be.
    """

    resources: Mapping[str, float]
    labels: Mapping[str, str]
    count: float = 1

    def has_labels(self, selectors: Mapping[str, str]) -> bool:
        """Whether Ray would place on these what asks for labels."""
        for key, selector in selectors.items():
            match = SELECTOR.fullmatch(selector)
            assert match is not None, "it matches any text"
            wanted = {text.strip() for text in (match["several"] or match["one"] or "").split(",")}
            if (self.labels.get(key) in wanted) == bool(match["unless"]):
                return False
        return True

    def holds(self, worker: Mapping[str, float]) -> int:
        """How many workers have room on one of them; a worker is some of some resource."""
        each = [self.resources.get(name, 0) / n for name, n in worker.items() if n > 0]
        return math.floor(min(each) + 1e-9)


@dataclass(frozen=True)
class Fleet:
    """The nodes of a cluster, when it is as large as it may become.

    Attributes:
        nodes: those that stay, whatever the autoscaler does.
        groups: those that it starts and ends.
        most: how many nodes the groups may have together.
        name: of all of it, in errors.
    """

    nodes: list[Machines]
    groups: list[Machines] = field(default_factory=list)
    most: float = math.inf
    name: str = "the cluster"

    def with_labels(self, selectors: Mapping[str, str]) -> Fleet:
        """Returns the nodes and groups that have the labels that are asked for."""
        nodes, groups = (
            [kind for kind in kinds if kind.has_labels(selectors)]
            for kinds in (self.nodes, self.groups)
        )
        return Fleet(nodes, groups, self.most, self.name)

    def room(self, worker: Mapping[str, float]) -> float:
        """How many workers have room at once."""
        capacity, left = sum(kind.holds(worker) * kind.count for kind in self.nodes), self.most
        for kind in sorted(self.groups, key=lambda kind: -kind.holds(worker)):
            started = min(kind.count, left)
            capacity, left = capacity + kind.holds(worker) * started, left - started
        return capacity


def grown(there: list[Machines], autoscaling: Mapping[str, Any]) -> Fleet:
    """What an autoscaler may make of the nodes that are there, by its configuration."""
    kinds = {
        name: kind
        for name, kind in autoscaling.get("available_node_types", {}).items()
        if kind.get("max_workers")
    }
    groups = [
        Machines(kind["resources"], kind.get("labels", {}), kind["max_workers"])
        for kind in kinds.values()
    ]
    stay = [node for node in there if node.labels.get("ray.io/node-group") not in kinds]
    return Fleet(stay, groups, autoscaling.get("max_workers", math.inf))


def joins() -> bool:
    """Whether a study joins a cluster that is there, instead of starting one for its time."""
    return bool(os.environ.get("RAY_ADDRESS"))


def local_cpus() -> int:
    """The CPUs that Ray is told of on this machine.

    One more than there are: drivers and shard tasks hardly compute, but a trial must never wait
    for them.
    """
    return cores() + 1


def check_this_machine(study: Study, trials: list[Trial], *, training: bool = True) -> None:
    """Refuse, before Ray starts, what this machine does not have.

    Where a cluster is joined nothing is asked; labels of nodes are left to Ray, which knows them.

    Args:
        training: whether models are trained or measured, and not only asked for vectors.

    Raises:
        ResourceError: GPUs where there are none, each with the setting to type; or as
            `check_resources`.
    """
    if joins():
        return
    gpus, asked = 0, {"embedding.gpus_per_worker": 0.0, "training.gpus_per_worker": 0.0}
    for config in (trial.config for trial in trials):
        embeds = config.embedding.gpus_per_worker if config.embedding.vectors is None else 0
        trains = config.training.gpus_per_worker if training else 0
        asked = {key: max(n, asked[key]) for key, n in zip(asked, (embeds, trains), strict=True)}
    needed = {key: count for key, count in asked.items() if count}
    if needed:
        import torch  # seconds, which studies without GPUs do not have

        gpus = torch.cuda.device_count()
    if needed and not gpus:
        settings = ", ".join(f"{key}: {count:g}" for key, count in needed.items())
        zeros = " ".join(f"--set {key}=0" for key in needed)
        raise ResourceError(
            f"{settings}: torch sees no GPU on this machine. To compute on its cores, type {zeros};"
            " or run the study on a machine with GPUs, or on a cluster that RAY_ADDRESS names"
        )
    if not training:
        return
    here = Machines({"CPU": local_cpus(), "GPU": gpus}, {})
    free = [replace(trial, config=_unlabelled(trial.config)) for trial in trials]
    check_resources(study, free, Fleet([here], name="this machine"))


def _unlabelled(config: TrialConfig) -> TrialConfig:
    training = config.training.model_copy(update={"node_labels": {}})
    return config.model_copy(update={"training": training})


def check_resources(study: Study, trials: list[Trial], machines: Fleet) -> None:
    """Refuse a study that would wait forever.

    Args:
        machines: that there are, or may be.

    Raises:
        ResourceError: if the trials that run at once, or the embedding, need more than the
            machines have room for.
    """
    for trial in trials:
        training, embedding = trial.config.training, trial.config.embedding
        one = {"GPU": float(embedding.gpus_per_worker)}
        on_gpus = embedding.gpus_per_worker and embedding.vectors is None
        if on_gpus and embedding.workers > (room := machines.room(one)):
            raise ResourceError(
                f"the embedding of trial {trial.name} needs {embedding.workers} workers of "
                f"{_named(one)}, {machines.name} has room for {room:g}. Lower embedding.workers or "
                "embedding.gpus_per_worker"
            )
        fitting = machines.with_labels(training.node_labels)
        if not (fitting.nodes or fitting.groups):
            raise ResourceError(
                f"no node has the labels {training.node_labels} that trial {trial.name} asks for: "
                "`ray list nodes --detail` shows them; change training.node_labels"
            )
        one = rank_resources(training)
        at_once = min(study.sweep.max_concurrent, len(trials))
        if training.workers * at_once > (room := fitting.room(one)):
            several = f", {at_once} trials at once" if at_once > 1 else ""
            raise ResourceError(
                f"trial {trial.name} needs {training.workers} workers of {_named(one)}{several}; "
                f"{machines.name} has room for {room:g} of them. Lower training.workers, "
                "training.gpus_per_worker, training.cpus_per_worker or sweep.max_concurrent"
            )


def gangs_across_nodes(trials: list[Trial], machines: Fleet) -> list[str]:
    """Sentences on gangs that no node holds, and whose weights cross the network in each step.

    Args:
        machines: of the cluster.
    """
    told = {}
    for trial in trials:
        training = trial.config.training
        fitting = machines.with_labels(training.node_labels)
        most = max(
            kind.holds(rank_resources(training)) for kind in [*fitting.nodes, *fitting.groups]
        )
        in_full = training.gpus_per_worker > 0 and trial.config.model.adapter == "none"
        if training.workers <= most or not (training.zero_stage == 3 or in_full):
            continue
        what = (
            "under ZeRO 3 all weights cross the network in each forward and each backward pass"
            if training.zero_stage == 3
            else "all gradients and all new weights cross the network in each step"
        )
        told[
            f"has {training.workers} workers, a node has room for {most}, and {what}: over TCP "
            f"most of the time goes there. Take nodes with room for {training.workers} "
            "(training.node_labels chooses), or model.adapter: {type: lora} with fewer workers"
        ] = trial.name
    return [f"trial {name} {sentence}" for sentence, name in told.items()]


def rank_resources(training: Training) -> dict[str, float]:
    """What Ray reserves for a rank, by its name of it."""
    return {
        "CPU": training.reserved_cpus,
        "GPU": float(training.gpus_per_worker),
    }


def _named(worker: Mapping[str, float]) -> str:
    return " and ".join(f"{n:g} {name}" for name, n in worker.items() if n or name == "CPU")
