"""Whether a cluster has, or may get, the machines that a study asks for."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import requests
import yaml
from ray.exceptions import RayError

from orchestrator.config import Study
from orchestrator.config.training import Training
from orchestrator.errors import ResourceError
from orchestrator.trials import Trial
from orchestrator.tune.trainable import reserved_cpus

if TYPE_CHECKING:
    from orchestrator.estimate.room import MachineMemory

# Where `ray up` leaves the cluster's description on the head.
LAUNCHED = Path("~/ray_bootstrap_config.yaml")
LOOK_SECONDS = 60.0  # for a node to tell its memory; others' trials may keep it busy
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
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
    """

    nodes: list[Machines]
    groups: list[Machines] = field(default_factory=list)
    most: float = math.inf

    def with_labels(self, selectors: Mapping[str, str]) -> Fleet:
        """Returns the nodes and groups that have the labels that are asked for."""
        nodes, groups = (
            [kind for kind in kinds if kind.has_labels(selectors)]
            for kinds in (self.nodes, self.groups)
        )
        return Fleet(nodes, groups, self.most)

    def room(self, worker: Mapping[str, float]) -> float:
        """How many workers have room at once."""
        capacity, left = sum(kind.holds(worker) * kind.count for kind in self.nodes), self.most
        for kind in sorted(self.groups, key=lambda kind: -kind.holds(worker)):
            started = min(kind.count, left)
            capacity, left = capacity + kind.holds(worker) * started, left - started
        return capacity


def fleet() -> Fleet | None:
    """The nodes that are there, and those that the cluster's autoscaler may add.

    Ray does not tell an autoscaler's limits. They are read on the head, where the drivers of jobs
    run; a driver elsewhere knows of the nodes that are there only.

    Returns:
        None where there is an autoscaler, and this account may not read its limits.
    """
    autoscaling = _autoscaling()
    return None if autoscaling is None else grown(_there(), autoscaling)


def _there() -> list[Machines]:
    return [Machines(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]


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


def _autoscaling() -> Mapping[str, Any] | None:
    """Configuration of this head's autoscaler; empty where there is none, None if out of sight."""
    launched = LAUNCHED.expanduser()
    if launched.is_file():
        config: Mapping[str, Any] = yaml.safe_load(launched.read_text(encoding="utf-8"))
        return config
    # KubeRay's autoscaler is a container of its own, for which the head starts no other.
    if "--no-monitor" not in os.environ.get("KUBERAY_GEN_RAY_START_CMD", ""):
        return {}
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    try:
        namespace = (SERVICE_ACCOUNT / "namespace").read_text()
        config = AutoscalingConfigProducer(os.environ["RAY_CLUSTER_NAME"], namespace)()
    except (OSError, requests.RequestException):
        return None
    return config


def check_resources(study: Study, trials: list[Trial], machines: Fleet) -> None:
    """Refuse a study that would wait forever.

    Args:
        machines: of the cluster.

    Raises:
        ResourceError: if the trials that run at once, or the embedding, need more than the
            cluster has room for.
    """
    for trial in trials:
        training, embedding = trial.config.training, trial.config.embedding
        one = {"GPU": float(embedding.gpus_per_worker)}
        on_gpus = embedding.gpus_per_worker and embedding.vectors is None
        if on_gpus and embedding.workers > (room := machines.room(one)):
            raise ResourceError(
                f"the embedding of trial {trial.name} needs {embedding.workers} workers of "
                f"{_named(one)}, the cluster has room for {room:g}. Lower embedding.workers or "
                "embedding.gpus_per_worker"
            )
        fitting = machines.with_labels(training.node_labels)
        if not (fitting.nodes or fitting.groups):
            raise ResourceError(
                f"no node has the labels {training.node_labels} that trial {trial.name} asks for: "
                "`ray list nodes --detail` shows them; change training.node_labels"
            )
        one = _rank(training)
        at_once = min(study.sweep.max_concurrent, len(trials))
        if training.workers * at_once > (room := fitting.room(one)):
            several = f", {at_once} trials at once" if at_once > 1 else ""
            raise ResourceError(
                f"trial {trial.name} needs {training.workers} workers of {_named(one)}{several}; "
                f"the cluster has room for {room:g} of them. Lower training.workers, "
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
        most = max(kind.holds(_rank(training)) for kind in [*fitting.nodes, *fitting.groups])
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


def memory_of_node(training: Training, trials: int) -> MachineMemory | None:
    """The memory of a node that may hold a rank, as a task finds it there.

    Returns:
        None where no node is there yet that could, or none answers.
    """
    one = _rank(training)
    there = Fleet(_there()).with_labels(training.node_labels).nodes
    if not any(kind.holds(one) for kind in there):
        return None
    task = _look.options(
        num_cpus=one["CPU"], num_gpus=one["GPU"], label_selector=training.node_labels or None
    ).remote(training, trials)
    try:
        return ray.get(task, timeout=LOOK_SECONDS)
    except RayError:
        ray.cancel(task)
        return None


@ray.remote
def _look(training: Training, trials: int) -> MachineMemory | None:
    from orchestrator.estimate.room import machine_memory

    here = ray.get_runtime_context().get_node_id()
    (node,) = [node for node in ray.nodes() if node["NodeID"] == here]
    most = Machines(node["Resources"], node["Labels"]).holds(_rank(training))
    return machine_memory(training, trials, most)


def _rank(training: Training) -> dict[str, float]:
    """What Ray reserves for a rank."""
    return {
        "CPU": reserved_cpus(training.cpus_per_worker),
        "GPU": float(training.gpus_per_worker),
    }


def _named(worker: Mapping[str, float]) -> str:
    return " and ".join(f"{n:g} {name}" for name, n in worker.items() if n or name == "CPU")
