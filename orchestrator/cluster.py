"""Ray's cluster for the time of a study, and whether it has room for its trials."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._private.state import state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config import Study, Trial
from orchestrator.errors import ResourceError

OBJECT_STORE_BYTES = 256 * 2**20  # vectors and lists travel as files
MANY_NODES = 10**6  # where the autoscaler has no limit
STORAGE_SECONDS = 120.0  # for a node to answer; it may have to start a process first
SETTINGS = {
    # Seconds until Ray Train's controller sees that a worker ended.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


def threads(study: Study, trials: list[Trial]) -> int:
    """Threads that a rank computes with: its reserved cores, or an even share of this machine's."""
    ranks = [trial.config.training for trial in trials]
    at_once = max(training.workers for training in ranks) * study.sweep.max_concurrent
    reserved = max(training.cpus_per_worker or 0 for training in ranks)
    return max(1, int(reserved or (os.cpu_count() or 1) // at_once))


@contextmanager
def cluster(threads: int) -> Iterator[None]:
    """Ray for the time of a study: the cluster that RAY_ADDRESS or a job names, or a local one.

    Args:
        threads: of a rank. Ray would set OMP_NUM_THREADS to the CPUs a process reserves, and
            oneDNN keeps to that number whatever torch is told later.
    """
    settings = SETTINGS | {"OMP_NUM_THREADS": str(threads)}
    if os.environ.get("RAY_ADDRESS"):
        if os.environ.get("RAY_JOB_STOP_SIGNAL") == "SIGINT":
            # A head that was started in the background hands down that SIGINT is ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        ray.init(runtime_env={"env_vars": settings})
    else:
        # Nobody takes this machine away, and the watcher's process delays each trial's start.
        os.environ.update(settings | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"})
        # One CPU more than there are: drivers and shard tasks hardly compute, but a trial
        # must never wait for them. The dashboard is what frees a stopped trial's resources.
        ray.init(
            address="local",  # Ray would join what `ray start` left on this machine
            num_cpus=(os.cpu_count() or 1) + 1,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
        )
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Machines:
    """Nodes of one kind.

    Attributes:
        resources: of each, by Ray's name of it.
        labels: of each; None where Ray does not tell, of nodes that are not there yet.
        count: how many there are, or may be.
    """

    resources: Mapping[str, float]
    labels: Mapping[str, str] | None
    count: int

    def has_labels(self, wanted: Mapping[str, str]) -> bool:
        """Whether these may be nodes that a selector wants; one with operators may always."""
        return self.labels is None or all(
            self.labels.get(key) == value or not value.replace("-", "").replace("_", "").isalnum()
            for key, value in wanted.items()
        )


def machines() -> list[Machines]:
    """The nodes that are there, and those that the cluster's autoscaler may add."""
    there = [
        Machines(node["Resources"], node["Labels"], 1) for node in ray.nodes() if node["Alive"]
    ]
    limits = state.get_cluster_config()
    groups = [] if limits is None else limits.node_group_configs
    return there + [
        Machines(
            dict(group.resources), None, MANY_NODES if group.max_count < 0 else group.max_count
        )
        for group in groups
    ]


def describe_cluster() -> str:
    """What is there now, in a few words."""
    resources, nodes = ray.cluster_resources(), len([n for n in ray.nodes() if n["Alive"]])
    text = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return text if nodes == 1 else f"{nodes} nodes, {text}"


def check_resources(study: Study, trials: list[Trial], found: list[Machines]) -> None:
    """Refuse a study that would wait forever.

    Args:
        found: what there is, and may be.

    Raises:
        ResourceError: if the trials that run at once, or the embedding, need more than the
            cluster has, or if no node has room for one worker.
    """
    for trial in trials:
        training, embedding = trial.config.training, trial.config.embedding
        gpus = embedding.workers * embedding.gpus_per_worker
        if gpus > (there := _total(found, "GPU")):
            raise ResourceError(
                f"the embedding of trial {trial.name} needs {gpus:g} GPU, the cluster has "
                f"{there:g}. Lower embedding.workers or embedding.gpus_per_worker"
            )
        fitting = [kind for kind in found if kind.has_labels(training.node_labels)]
        if not fitting:
            raise ResourceError(
                f"no node has the labels {training.node_labels} that trial {trial.name} asks for: "
                "`ray list nodes --detail` shows them; change training.node_labels"
            )
        worker = {
            "CPU": reserved_cpus(training.cpus_per_worker),
            "GPU": float(training.gpus_per_worker),
        }
        if not any(_holds(kind, worker) for kind in fitting):
            raise ResourceError(
                f"a worker of trial {trial.name} needs {worker['CPU']:g} CPU and "
                f"{worker['GPU']:g} GPU on one node, no node has that. Lower "
                "training.cpus_per_worker or training.gpus_per_worker"
            )
        for resource, each in worker.items():
            per_trial = training.workers * each
            needed = per_trial * min(study.sweep.max_concurrent, len(trials))
            if needed > (there := _total(fitting, resource)):
                raise ResourceError(
                    f"trial {trial.name} needs {per_trial:g} {resource}, "
                    f"{study.sweep.max_concurrent} trials at once {needed:g}; the cluster has "
                    f"{there:g}. Lower training.workers, "
                    f"training.{resource.lower()}s_per_worker or sweep.max_concurrent"
                )


def _holds(kind: Machines, needed: Mapping[str, float]) -> bool:
    return kind.count > 0 and all(kind.resources.get(key, 0) >= n for key, n in needed.items())


def _total(found: list[Machines], resource: str) -> float:
    """What there is, or what there may be if that is more: a group counts the nodes it has."""
    there = sum(kind.resources.get(resource, 0) for kind in found if kind.labels is not None)
    limit = sum(
        kind.count * kind.resources.get(resource, 0) for kind in found if kind.labels is None
    )
    return max(there, limit)


def check_storage(folders: Iterable[Path]) -> None:
    """Refuse folders that a node of the cluster does not share.

    Args:
        folders: of results, artifacts and models; made if they are missing.

    Raises:
        ResourceError: naming the node and the folder.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    marks = []
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        marks.append(folder / f".shared-{uuid.uuid4().hex}")
        marks[-1].touch()
    try:
        on = NodeAffinitySchedulingStrategy
        asked = {
            _missing.options(scheduling_strategy=on(node["NodeID"], soft=False)).remote(marks): node
            for node in nodes
        }
        for answer, node in asked.items():
            if missing := ray.get(answer, timeout=STORAGE_SECONDS):
                raise ResourceError(
                    f"node {node['NodeManagerAddress']} does not see {missing[0].parent}: give "
                    "--output and store folders that all nodes share, at the same path"
                )
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


@ray.remote(num_cpus=0)
def _missing(paths: list[Path]) -> list[Path]:
    for folder in {path.parent for path in paths}:
        if folder.is_dir():
            next(folder.iterdir(), None)  # a network file system looks again
    return [path for path in paths if not path.exists()]


def reserved_cpus(cpus_per_worker: float | None) -> float:
    """Cores that Ray reserves for a rank."""
    return 1.0 if cpus_per_worker is None else cpus_per_worker
