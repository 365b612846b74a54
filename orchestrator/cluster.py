"""Ray's cluster for the time of a study, and whether it has room for its trials."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from orchestrator.config import Study, Trial
from orchestrator.errors import ResourceError

OBJECT_STORE_BYTES = 256 * 2**20  # vectors and lists travel as files
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
def cluster(threads: int) -> Iterator[dict[str, float]]:
    """Ray for the time of a study: the cluster that RAY_ADDRESS or a job names, or a local one.

    Args:
        threads: of a rank. Ray would set OMP_NUM_THREADS to the CPUs a process reserves, and
            oneDNN keeps to that number whatever torch is told later.

    Yields:
        The cluster's resources.
    """
    settings = SETTINGS | {"OMP_NUM_THREADS": str(threads)}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(runtime_env={"env_vars": settings})
    else:
        # Nobody takes this machine away, and the watcher's process delays each trial's start.
        os.environ.update(settings | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"})
        # One CPU more than there are: drivers and shard tasks hardly compute, but a trial
        # must never wait for them. The dashboard is what frees a stopped trial's resources.
        ray.init(
            num_cpus=(os.cpu_count() or 1) + 1,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
        )
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def check_resources(study: Study, trials: list[Trial], available: dict[str, float]) -> None:
    """Refuse a study that would wait forever.

    Raises:
        ResourceError: if the trials that run at once, or the embedding, need more than the
            cluster has, or if no node has room for one worker.
    """
    for trial in trials:
        training, embedding = trial.config.training, trial.config.embedding
        gpus = embedding.workers * embedding.gpus_per_worker
        if gpus > available.get("GPU", 0):
            raise ResourceError(
                f"the embedding of trial {trial.name} needs {gpus:g} GPU, the cluster has "
                f"{available.get('GPU', 0):g}. Lower embedding.workers or "
                "embedding.gpus_per_worker"
            )
        _check_one_worker(trial)
        demand = {
            "CPU": training.workers * reserved_cpus(training.cpus_per_worker),
            "GPU": float(training.workers * training.gpus_per_worker),
        }
        for resource, per_trial in demand.items():
            needed = per_trial * min(study.sweep.max_concurrent, len(trials))
            if needed > available.get(resource, 0):
                raise ResourceError(
                    f"trial {trial.name} needs {per_trial:g} {resource}, "
                    f"{study.sweep.max_concurrent} trials at once {needed:g}; the cluster has "
                    f"{available.get(resource, 0):g}. Lower training.workers, "
                    f"training.{resource.lower()}s_per_worker or sweep.max_concurrent"
                )


def _check_one_worker(trial: Trial) -> None:
    training = trial.config.training
    cpus, gpus = reserved_cpus(training.cpus_per_worker), training.gpus_per_worker
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        raise ResourceError(
            f"a worker of trial {trial.name} needs {cpus:g} CPU and {gpus} GPU on one node, no "
            "node has that. Lower training.cpus_per_worker or training.gpus_per_worker"
        )


def reserved_cpus(cpus_per_worker: float | None) -> float:
    """Cores that Ray reserves for a rank."""
    return 1.0 if cpus_per_worker is None else cpus_per_worker
