"""Whether a machine's memory holds a trial, and which setting would make it fit.

What a rank needs is `rank.memory_of_rank`'s estimate: what is too little is told, and only weights
that alone do not fit are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Lora, Training
from orchestrator.errors import ResourceError
from orchestrator.estimate.rank import RankMemory, changed, gigabytes
from orchestrator.host.share import cores, memory
from orchestrator.training.pinned import may_lock

Planned = Callable[[TrialConfig], RankMemory]


@dataclass(frozen=True)
class MachineMemory:
    """The memory of a machine, in bytes.

    Attributes:
        device: of one GPU; None where trials use none, and the host holds all.
        host: of the host.
        ranks: that share the host, those of all trials that run at once.
        locks: whether what they offload can be page-locked.
    """

    device: int | None
    host: int
    ranks: int
    locks: bool = True

    def on_host(self, rank: RankMemory) -> int:
        """Bytes of the host that one rank needs."""
        return rank.device if self.device is None else rank.host

    def holds(self, rank: RankMemory) -> bool:
        """Whether every rank's part fits its device, and all of them together the host."""
        fits = self.device is None or rank.device <= self.device
        return fits and self.ranks * self.on_host(rank) <= self.host

    def __str__(self) -> str:
        device = "" if self.device is None else f"the device has {gigabytes(self.device)} GB, "
        shared = "" if self.ranks == 1 else f" for {self.ranks} ranks"
        slow = "" if self.locks else " and locks none of it (ulimit -l), so that offload is slower"
        return f"{device}the host has {gigabytes(self.host)} GB{shared}{slow}"


def machine_memory(
    training: Training, trials: int, most: int | None = None
) -> MachineMemory | None:
    """What this machine has for so many trials at once; None where it lacks the GPUs they use.

    Args:
        training: of the trials.
        most: ranks that have room here, the others are on other nodes; None: as many as there are
            GPUs for, or reserved cores.
    """
    ranks, device, locks = training.workers * trials, None, True
    if training.gpus_per_worker:
        if not torch.cuda.is_available():
            return None
        most = most or torch.cuda.device_count() // training.gpus_per_worker
        device = torch.cuda.get_device_properties(0).total_memory
        locks = training.offload == "none" or may_lock()
    elif training.cpus_per_worker:
        most = most or int(cores() // training.cpus_per_worker)
    ranks = ranks if most is None else min(ranks, most)
    return MachineMemory(device, memory(), max(1, ranks), locks)


def check_memory(config: TrialConfig, planned: Planned, room: MachineMemory | None) -> str:
    """The estimate in one line: what is needed, what there is, and what would make it fit.

    Args:
        config: of the trial.
        planned: `memory_of_rank` of the trial's model.
        room: None where it is not known.

    Raises:
        ResourceError: if the weights alone do not fit. Less is an estimate, and only told.
    """
    rank = planned(config)
    if room is None:
        return str(rank)
    line = f"{rank}; {room}"
    if room.holds(rank):
        return line
    advice = _advice(config, planned, room)
    if rank.weights > (room.device or room.host):
        name = config.model.name
        raise ResourceError(f"model.name: the weights of {name} do not fit. {line}: {advice}")
    return f"{line}, which is too little: {advice}"


def _advice(config: TrialConfig, planned: Planned, room: MachineMemory) -> str:
    rank = planned(config)
    trials = room.host // max(1, room.on_host(rank)) // config.training.workers
    if trials and replace(room, ranks=1).holds(rank):
        return f"set sweep.max_concurrent: {trials}"
    change = smallest_change(config, planned, room)
    if change:
        return "set " + ", ".join(f"{key}: {_value(value)}" for key, value in change.items())
    return "no setting makes it fit: choose a smaller model.name or a larger machine"


def smallest_change(
    config: TrialConfig, planned: Planned, room: MachineMemory
) -> dict[str, Any] | None:
    """The first change that makes a rank fit, the least costly ones first, or all up to one.

    Returns:
        Dotted key -> value; None if nothing helps.
    """
    changes = list(_changes(config))
    together: dict[str, Any] = {}
    for change in [*changes, *((together := together | change) for change in changes)]:
        if room.holds(planned(changed(config, change))):
            return change
    return None


def _changes(config: TrialConfig) -> list[dict[str, Any]]:
    """Single changes, the cheapest first; only the last one trains something else."""
    model, training = config.model, config.training
    stage, gpu = training.zero_stage, training.gpus_per_worker > 0
    offload = gpu and training.offload == "none" and training.optimizer == "adamw"
    possible: list[tuple[bool, dict[str, Any]]] = [
        (not model.gradient_checkpointing, {"model.gradient_checkpointing": True}),
        (training.micro_batch_tokens > model.max_length,
         {"training.micro_batch_tokens": model.max_length}),
        (training.workers > 1 and stage < 3, {"training.zero_stage": 3}),
        (offload, {"training.zero_stage": max(2, stage), "training.offload": "optimizer"}),
        (gpu and training.offload != "parameters" and training.optimizer == "adamw",
         {"training.zero_stage": 3, "training.offload": "parameters"}),
        (model.adapter == "none", {"model.adapter": Lora(type="lora")}),
    ]  # fmt: skip
    return [change for useful, change in possible if useful]


def _value(value: Any) -> str:
    return f"{{type: {value.type}}}" if isinstance(value, Lora) else str(value).lower()
