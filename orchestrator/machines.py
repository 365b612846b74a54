"""Whether a cluster has, or may get, the machines that a study asks for."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import requests
import yaml

from orchestrator.config import Study, Trial
from orchestrator.errors import ResourceError

# Where `ray up` leaves the cluster's description on the head.
LAUNCHED = Path("~/ray_bootstrap_config.yaml")
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# "spot", "!spot", "in(H100, A100)", "!in(H100)": Ray's label selectors.
SELECTOR = re.compile(r"(?P<unless>!?)(?:(?:in)?\((?P<several>.*)\)|(?P<one>.*))")


@dataclass(frozen=True)
class Machines:
    """Nodes of one kind.

    Attributes:
        resources: of each, by Ray's name of it.
        labels: of each.
        count: how many there are, or may be; infinity without a limit.
        there: whether they are, or the autoscaler may add them.
    """

    resources: Mapping[str, float]
    labels: Mapping[str, str]
    count: float = 1
    there: bool = True

    def has_labels(self, selectors: Mapping[str, str]) -> bool:
        """Whether Ray would place on these what asks for labels."""
        for key, selector in selectors.items():
            found = SELECTOR.fullmatch(selector)
            assert found is not None, "it matches any text"
            wanted = {text.strip() for text in (found["several"] or found["one"] or "").split(",")}
            if (self.labels.get(key) in wanted) == bool(found["unless"]):
                return False
        return True

    def places(self, worker: Mapping[str, float]) -> float:
        """How many workers have room: each has all of its resources on one node."""
        each = [self.resources.get(name, 0) / n for name, n in worker.items() if n > 0]
        return self.count * math.floor(min(each) + 1e-9) if each else math.inf


def machines() -> list[Machines]:
    """The nodes that are there, and those that the cluster's autoscaler may add.

    Ray does not tell an autoscaler's limits. They are read on the head, where the drivers of jobs
    run; a driver elsewhere knows of the nodes that are there only.
    """
    there = [Machines(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]
    return there + groups(_autoscaling())


def groups(autoscaling: Mapping[str, Any]) -> list[Machines]:
    """What an autoscaler may add, by its configuration."""
    return [
        Machines(kind["resources"], kind.get("labels", {}), kind["max_workers"], there=False)
        for kind in autoscaling.get("available_node_types", {}).values()
        if kind.get("max_workers")
    ]


def _autoscaling() -> Mapping[str, Any]:
    """Configuration of the autoscaler of this head; empty where there is none, or not the head."""
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
        # An autoscaler whose limits this account may not read: nothing is too much for it.
        unknown = {"resources": {"CPU": math.inf, "GPU": math.inf}, "max_workers": math.inf}
        return {"available_node_types": {"unknown": unknown}}
    return config


def check_resources(study: Study, trials: list[Trial], found: list[Machines]) -> None:
    """Refuse a study that would wait forever.

    Args:
        found: what there is, and may be.

    Raises:
        ResourceError: if the trials that run at once, or the embedding, need more than the
            cluster has room for.
    """
    for trial in trials:
        training, embedding = trial.config.training, trial.config.embedding
        one = {"GPU": float(embedding.gpus_per_worker)}
        if embedding.workers > (room := _room(found, one)):
            raise ResourceError(
                f"the embedding of trial {trial.name} needs {embedding.workers} workers of "
                f"{_named(one)}, the cluster has room for {room:g}. Lower embedding.workers or "
                "embedding.gpus_per_worker"
            )
        fitting = [kind for kind in found if kind.has_labels(training.node_labels)]
        if not fitting:
            raise ResourceError(
                f"no node has the labels {training.node_labels} that trial {trial.name} asks for: "
                "`ray list nodes --detail` shows them; change training.node_labels"
            )
        one = {
            "CPU": reserved_cpus(training.cpus_per_worker),
            "GPU": float(training.gpus_per_worker),
        }
        at_once = min(study.sweep.max_concurrent, len(trials))
        if training.workers * at_once > (room := _room(fitting, one)):
            several = f", {at_once} trials at once" if at_once > 1 else ""
            raise ResourceError(
                f"trial {trial.name} needs {training.workers} workers of {_named(one)}{several}; "
                f"the cluster has room for {room:g} of them. Lower training.workers, "
                "training.gpus_per_worker, training.cpus_per_worker or sweep.max_concurrent"
            )


def _room(found: Iterable[Machines], worker: Mapping[str, float]) -> float:
    """Workers that have room, now or later if that is more: a group counts the nodes it has."""
    places = {True: 0.0, False: 0.0}
    for kind in found:
        places[kind.there] += kind.places(worker)
    return max(places.values())


def _named(worker: Mapping[str, float]) -> str:
    return " and ".join(f"{n:g} {name}" for name, n in worker.items() if n or name == "CPU")


def reserved_cpus(cpus_per_worker: float | None) -> float:
    """Cores that Ray reserves for a rank."""
    return 1.0 if cpus_per_worker is None else cpus_per_worker
