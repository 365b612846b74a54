"""Ray's cluster for the time of a study, and whether its nodes share the storage."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config import Study
from orchestrator.errors import ResourceError
from orchestrator.host.share import cores, threads_of
from orchestrator.host.stop_signal import signals_kept, stop_on_sigterm
from orchestrator.study.fleet import joins
from orchestrator.study.local_ray import (
    MODE,
    ON_PURPOSE,
    TOKENS,
    local_ray,
    mode_without_token,
)
from orchestrator.study.ray_death import joined_death, knock, told_if_ray_dies
from orchestrator.trials import Trial

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
# Ray unpickles what tables hold where one of these is set: workers do not ask their node.
AUTOLOAD = "RAY_DATA_AUTOLOAD_"
SETTINGS |= {
    f"{AUTOLOAD}{kind}": "0"
    for kind in ("PYEXTENSIONTYPE", "PICKLE_OBJECT_SCALAR", "CLOUDPICKLE_TENSOR_METADATA")
}
# Batches of all lengths would leave gaps in the memory of a GPU into which no other batch fits.
# torch reads it while it is imported; PYTORCH_CUDA_ALLOC_CONF, its older name, goes before it.
ALLOCATOR = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


def threads(study: Study, trials: list[Trial]) -> int:
    """Threads that a rank computes with: its reserved cores, or an even share of this machine's."""
    ranks = [trial.config.training for trial in trials]
    at_once = max(training.workers for training in ranks) * study.sweep.max_concurrent
    reserved = max(training.cpus_per_worker or 0 for training in ranks)
    return threads_of(at_once, reserved, cores())


@contextmanager
def cluster(threads: int) -> Iterator[None]:
    """Ray for the time of a study: the cluster that RAY_ADDRESS or a job names, or a local one.

    Args:
        threads: of a rank. Ray would set OMP_NUM_THREADS to the CPUs a process reserves, and
            oneDNN keeps to that number whatever torch is told later.

    Raises:
        ResourceError: no cluster answers where RAY_ADDRESS says, or not to this token, or it would
            be joined without one; or Ray does not start here, or would run code of the data.
        RayDied: it has died meanwhile.
    """
    if loading := sorted(n for n in os.environ if n.startswith(AUTOLOAD) and os.environ[n] != "0"):
        raise ResourceError(f"{', '.join(loading)} lets data that is read run code: unset it")
    settings = _settings(threads)
    with signals_kept(signal.SIGTERM):
        if not joins():
            with local_ray(settings):
                stop_on_sigterm()
                yield
            return
        # Of a job's environment Ray will not be told again, not even the same.
        job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
        if not job:  # which runs where it was sent
            _check_token()
        known = (job.get("runtime_env") or {}).get("env_vars") or {}
        _join({"env_vars": {name: settings[name] for name in settings.keys() - known.keys()}})
        gcs = ray.get_runtime_context().gcs_address
        with told_if_ray_dies(joined_death(gcs), ray.shutdown):
            stop_on_sigterm()
            yield


def _settings(threads: int) -> dict[str, str]:
    """The environment of Ray's workers; what the user has told torch's allocator stays."""
    allocator = {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
    return SETTINGS | allocator | {"OMP_NUM_THREADS": str(threads)}


def _check_token() -> None:
    """Refuse a cluster that is joined without a token, unless somebody says that it is meant."""
    if (mode := mode_without_token("disabled")) is not None:
        raise ResourceError(
            f"the cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']} would be joined without a "
            f"token, and one that asks for none runs any program of whoever reaches it: set "
            f"{MODE}=token and {TOKENS[1]} to the file that holds its token, or, in a network of "
            f"your own, {ON_PURPOSE}={mode}"
        )


def _join(runtime_env: dict[str, Any]) -> None:
    address = os.environ["RAY_ADDRESS"]
    try:
        if address != "auto":
            knock(address)  # Ray tries for minutes
        ray.init(runtime_env=runtime_env)
    except (OSError, AuthenticationError) as error:
        raise ResourceError(
            f"no cluster can be joined at RAY_ADDRESS={address} ({str(error).splitlines()[0]}): "
            "on its head set RAY_ADDRESS=auto, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to its "
            "token; from elsewhere use orchestrator submit; without RAY_ADDRESS the study runs on "
            "this machine"
        ) from None


def describe_cluster() -> str:
    """What is there now, in a few words."""
    resources, nodes = ray.cluster_resources(), len([n for n in ray.nodes() if n["Alive"]])
    text = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return text if nodes == 1 else f"{nodes} nodes, {text}"


def check_storage(written: Iterable[Path], read: Iterable[Path] = ()) -> None:
    """Refuse folders that a node of the cluster does not share, or may not write to.

    Args:
        written: folders of results, artifacts and models; made if they are missing.
        read: folders of models that the study names by their path.

    Raises:
        ResourceError: naming the node and the folder.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) == 1:
        return
    marks = []
    for folder in written:
        folder.mkdir(parents=True, exist_ok=True)
        marks.append(folder / f".shared-{uuid.uuid4().hex}")
        marks[-1].touch()
    # What a folder of a model holds was checked on this node.
    looked_for = {mark: mark.parent for mark in marks} | {path: path for path in read}
    try:
        on = NodeAffinitySchedulingStrategy
        asked = {
            _missing.options(scheduling_strategy=on(node["NodeID"], soft=False)).remote(
                marks, list(read)
            ): node["NodeManagerAddress"]
            for node in nodes
        }
        for answer, node in asked.items():
            try:
                missing = ray.get(answer, timeout=STORAGE_SECONDS)
            except RayError as error:
                raise ResourceError(
                    f"node {node} did not tell whether it shares {looked_for[marks[0]]}: "
                    f"{str(error).strip().splitlines()[-1]}. `ray status` shows whether it is well"
                ) from None
            if missing:
                raise ResourceError(
                    f"node {node} does not see {looked_for[missing[0]]}, or may not read and write "
                    "there: give --output, store and model folders that all nodes share, at the "
                    "same path"
                )
    finally:
        for mark in marks:
            mark.unlink(missing_ok=True)


@ray.remote(num_cpus=0)
def _missing(marks: list[Path], read: list[Path]) -> list[Path]:
    """Lists the paths that this node does not see, and marks beside which it may not write."""
    return [mark for mark in marks if not (_sees(mark) and _may_write(mark))] + [
        path for path in read if not _sees(path)
    ]


def _sees(path: Path) -> bool:
    try:
        next(path.parent.iterdir(), None)  # a network file system looks again
        return path.exists()
    except OSError:
        return False


def _may_write(mark: Path) -> bool:
    own = mark.with_name(f"{mark.name}-{uuid.uuid4().hex}")
    try:
        own.touch()
        own.unlink()
    except OSError:
        return False
    return True
