"""System metrics of the driver's machine, in a journal of the study that is sent as any other.

MLflow's own SystemMetricsMonitor takes an explicit run id, but it asks the server after every
sample, ends for good at the first request that fails, and its `finish` waits for the server. So
its samplers are used without it: what they read while the server is away is sent later.

Not for clusters: other nodes are not sampled.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from orchestrator.errors import DiskError
from orchestrator.tracking.points import SYSTEM
from orchestrator.training.journal import Journal, read_journal

SAMPLE_SECONDS = 10.0


class SystemSampler:
    """Samples on a thread of its own for the time of a `with` block.

    Args:
        study_folder: takes the journal; what an earlier run of the study sampled stays in it.
    """

    def __init__(self, study_folder: Path, seconds: float = SAMPLE_SECONDS) -> None:
        self._step = max((event["step"] for event in read_journal(study_folder)), default=-1)
        self._journal = Journal(study_folder, kept_to=self._step)
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system metrics", daemon=True)

    def __enter__(self) -> SystemSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        samplers = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpus()]
        while not self._stop.wait(self._seconds):
            values: dict[str, float] = {}
            for sampler in samplers:
                sampler.collect_metrics()
                values |= sampler.aggregate_metrics()
                sampler.clear_metrics()
            self._step += 1
            try:
                self._journal.write(SYSTEM, self._step, **values)
            except DiskError as error:  # the trials will meet it, and their study will tell
                logging.warning("no more metrics of this machine: %s", error)
                return


def _gpus() -> list[BaseMetricsMonitor]:
    try:
        return [GPUMonitor()]
    except (ImportError, RuntimeError):  # no nvidia-ml-py, or no driver
        return []
