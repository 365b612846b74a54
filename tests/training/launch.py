"""Run a job on a number of gloo ranks, as any launcher would, without Ray."""

import os
import socket

import torch.multiprocessing as mp

from orchestrator.training.job import Job
from orchestrator.training.loop import run_trial


def launch(job: Job, ranks: int = 1) -> None:
    """Train a job to its end; an exception of a rank is raised here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_rank, args=(job, ranks, port), nprocs=ranks)


def _rank(rank: int, job: Job, ranks: int, port: int) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    run_trial(job)
