"""Where a rank computes and how it finds the others; nothing of any model."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.config.training import Model, Training

_LINEAR = torch.nn.functional.linear
# Ranks wait so long for one another, whoever starts them: one alone compares a checkpoint of 90 GB
# with its hashes.
WAIT_SECONDS = 7200


@dataclass(frozen=True)
class Device:
    """The device that a rank computes on, and its arithmetic.

    Attributes:
        pinned: whether states that are offloaded from it lie in page-locked memory.
    """

    torch_device: torch.device
    dtype: torch.dtype
    pinned: bool = False

    @property
    def precision(self) -> str:
        """The study file's word for the arithmetic."""
        return str(self.dtype).removeprefix("torch.")


def pick_device(precision: str, *, gpu: bool) -> Device:
    """The rank's device, in the arithmetic of `pick_precision`."""
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    return Device(device, getattr(torch, pick_precision(precision, gpu=gpu)))


def pick_precision(precision: str, *, gpu: bool) -> str:
    """The arithmetic of a trial: `float32`, `bfloat16` or `float16`.

    `auto` is bfloat16 where the hardware multiplies it: there it is clearly faster, two to three
    times on a CPU with a model of 135 million weights, and arrives at the curve of float32 (both
    in experiments/LOG.md); elsewhere it is float32. A process that sees no GPU, as the driver of a
    cluster, takes the GPUs for ones that have it.
    """
    if precision != "auto":
        return precision
    if gpu:
        fast = not torch.cuda.is_available() or torch.cuda.is_bf16_supported(
            including_emulation=False
        )
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def precision_here(model: Model, training: Training) -> str:
    """The arithmetic that `pick_precision` gives a trial with these settings on this machine."""
    return pick_precision(model.precision, gpu=training.gpus_per_worker > 0)


@contextmanager
def _mlflow_hidden() -> Iterator[None]:
    """DeepSpeed's autotuner, which nobody starts here, imports MLflow where it finds it: 1.6 s."""
    modules: dict[str, Any] = sys.modules
    hidden = "mlflow" not in modules
    if hidden:
        modules["mlflow"] = None
    try:
        yield
    finally:
        if hidden:
            del modules["mlflow"]


def init_distributed(*, gpu: bool) -> tuple[int, int]:
    """Join the process group that the launcher made, or make one of this process alone.

    Comes before a model is loaded: DeepSpeed reads its environment when it is first imported.

    Returns:
        (rank, number of ranks).
    """
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    with _mlflow_hidden():
        import deepspeed

    if not gpu:
        # Otherwise the first trial compiles a shared-memory all-reduce for over a minute, and
        # needs a C++ compiler for it. gloo does the same.
        deepspeed.ops.__compatible_ops__ = {}
    if not dist.is_initialized():
        if "MASTER_PORT" in os.environ:
            if (
                "TORCHELASTIC_RUN_ID" in os.environ and gpu
            ):  # torchrun leaves it to us, Ray does not
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            wait = timedelta(seconds=WAIT_SECONDS)
            dist.init_process_group("nccl" if gpu else "gloo", timeout=wait)
        else:
            os.environ["LOCAL_RANK"] = "0"
            dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    return dist.get_rank(), dist.get_world_size()


def leave_distributed() -> None:
    """Leave the process group, and leave torch as it was, for another trial in this process."""
    torch.nn.functional.linear = _LINEAR  # ZeRO 3 puts its own there for good
    if not dist.is_initialized():
        return
    import deepspeed

    if deepspeed.comm.is_initialized():
        deepspeed.comm.destroy_process_group()  # torch's own would leave DeepSpeed's references
    else:  # the trial ended before its engine was built
        dist.destroy_process_group()


@contextmanager
def left_afterwards() -> Iterator[None]:
    """Leaves the process group at the end of the block, as `leave_distributed` does.

    What ends the block early is what is raised, whatever goes wrong with the leaving.
    """
    try:
        yield
    except BaseException:
        try:
            leave_distributed()
        except Exception:
            logging.exception("the process group was not left")
        raise
    leave_distributed()
