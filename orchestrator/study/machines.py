"""The machines of a cluster that runs, and of one that its autoscaler may make of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import requests
import yaml
from ray.exceptions import RayError

from orchestrator.config.training import Training
from orchestrator.study.fleet import Fleet, Machines, grown, rank_resources

if TYPE_CHECKING:
    from orchestrator.estimate.room import MachineMemory

# Where `ray up` leaves the cluster's description on the head.
LAUNCHED = Path("~/ray_bootstrap_config.yaml")
LOOK_SECONDS = 60.0  # for a node to tell its memory; others' trials may keep it busy
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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


def memory_of_node(training: Training, trials: int) -> MachineMemory | None:
    """The memory of a node that may hold a rank, as a task finds it there.

    Returns:
        None where no node is there yet that could, or none answers.
    """
    one = rank_resources(training)
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
    most = Machines(node["Resources"], node["Labels"]).holds(rank_resources(training))
    return machine_memory(training, trials, most)
