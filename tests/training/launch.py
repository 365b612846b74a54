"""Run a spec on a number of gloo ranks, as any launcher would, without Ray."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch.multiprocessing as mp

from orchestrator.training.device import leave_distributed
from orchestrator.training.loop import run_trial
from orchestrator.training.spec import TrialSpec

# The last is what DeepSpeed imports only when it builds its first engine.
ENGINES = ["transformers", "peft", "deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer"]


def launch(
    *specs: TrialSpec,
    ranks: int = 1,
    prepare: Callable[[int], None] | None = None,
    leave: bool = False,
) -> None:
    """Train specs to their ends, one after the other; an exception of a rank is raised here.

    Args:
        prepare: called with the rank in each process before the first spec; a function of a
            module, to break something that the test wants broken.
        leave: whether the process group is left after each spec, as where another test is next.
    """
    start(_train, specs, prepare, leave, ranks=ranks)


def start(function: Callable[..., None], *arguments: Any, ranks: int) -> None:
    """Call a function of a module on each rank, with the rank and the arguments."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The server imports the engines once; each rank is a fresh fork of it.
    multiprocessing.set_forkserver_preload([__name__, *ENGINES])
    with mock.patch.dict(os.environ, DS_ACCELERATOR="cpu", OMP_NUM_THREADS="1"):
        mp.start_processes(
            _rank, (ranks, port, function, arguments), nprocs=ranks, start_method="forkserver"
        )


def allow_float16(_rank: int = 0) -> None:
    """Let DeepSpeed compute in float16 on a CPU that does so slowly: it asks whether it is fast."""
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    CPU_Accelerator.is_fp16_supported = lambda self: True


def die() -> None:
    """End this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)


def _rank(
    rank: int, ranks: int, port: int, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    function(rank, *arguments)


def _train(
    rank: int, specs: tuple[TrialSpec, ...], prepare: Callable[[int], None] | None, leave: bool
) -> None:
    if prepare:
        prepare(rank)
    for spec in specs:
        run_trial(spec)
        if leave:
            leave_distributed()
