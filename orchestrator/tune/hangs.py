"""Ranks that are frozen or hang: found by their silence, and ended, so that the trial can go on.

Slow is not hung: a rank may be silent for as long as it was before in such work, and for
`training.hang_timeout` more. What it does for the first time (loading, a first step with its
compilation, a first checkpoint) may take as long as ranks wait for one another anyway.
"""

from __future__ import annotations

import time
from contextlib import suppress

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich.markup import escape

from orchestrator.screen import Screen, duration
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import ERROR_FILE
from orchestrator.training.device import WAIT_SECONDS
from orchestrator.training.heartbeat import Heartbeat, read_heartbeats
from orchestrator.training.spec import TrialSpec

LOOK_SECONDS = 1.0
# A look that comes late, after a pause of this process or of the machine or behind storage that did
# not answer, tells nothing of the time before.
LOOK_COUNTS_SECONDS = 5.0
BEGIN_SECONDS = 300.0  # in which a rank begins that has its place
UNBEGUN = (
    "none of its ranks has begun for {}: the cluster has no room for them yet, or what an attempt "
    "that died had reserved is not free (`ray status` tells). It goes on waiting; Ctrl-C and the "
    "same command again go on from the last checkpoint"
)


class Silence:
    """For how long the ranks of one attempt at a trial have been silent.

    Args:
        timeout: `training.hang_timeout`.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._last: dict[int, Heartbeat] = {}
        self._frozen: dict[int, float] = {}  # seconds without a sign, by rank
        self._idle: dict[int, float] = {}  # seconds without work done
        self._longest: dict[str, float] = {}  # of these, by what was done

    def look(self, ranks: list[Heartbeat], elapsed: float) -> dict[int, str]:
        """Take note of the newest sign of each rank.

        Args:
            ranks: as they were read.
            elapsed: seconds since the look before.

        Returns:
            The ranks that are to be ended, and what is the matter with each. A frozen one is told
            by itself. Of a gang that hangs all are silent: those with the least work done are the
            ones that the others wait for.
        """
        elapsed = min(elapsed, LOOK_COUNTS_SECONDS)
        for now in ranks:
            before = self._last.get(now.rank, now)
            frozen = self._frozen.get(now.rank, 0.0) + elapsed
            idle = self._idle.get(now.rank, 0.0) + elapsed
            if now.done != before.done:
                self._longest[before.doing] = max(idle, self._longest.get(before.doing, 0.0))
            self._frozen[now.rank] = frozen if now.written == before.written else 0.0
            self._idle[now.rank] = idle if now.done == before.done else 0.0
            self._last[now.rank] = now
        frozen_ranks = {
            now.rank: f"is frozen {now.doing}: no sign of it for {duration(self._frozen[now.rank])}"
            for now in ranks
            if self._frozen[now.rank] > self._timeout
        }
        return frozen_ranks or self._hung(ranks)

    def _hung(self, ranks: list[Heartbeat]) -> dict[int, str]:
        least = min((now.done for now in ranks), default=0)
        waited_for = [now for now in ranks if now.done == least]
        silent = min((self._idle[now.rank] for now in ranks), default=0.0)
        return {
            now.rank: f"hangs {now.doing}: nothing done for {duration(silent)}, "
            f"before at most for {duration(self._longest.get(now.doing, 0.0))}"
            for now in waited_for
            if silent > self._allowed(now)
        }

    def _allowed(self, rank: Heartbeat) -> float:
        if rank.doing not in rank.ended:  # for the first time
            return WAIT_SECONDS
        return self._longest.get(rank.doing, 0.0) + self._timeout


class Guard:
    """Watches over the ranks of one attempt at a trial; on the thread that waits for the study."""

    def __init__(self, spec: TrialSpec, screen: Screen) -> None:
        self._spec, self._screen = spec, screen
        self._silence = Silence(spec.config.training.hang_timeout)
        self._begun = self._looked = time.monotonic()
        self._told = self._told_unbegun = False

    def look(self) -> None:
        """Look for ranks that are silent for too long; tell of them, and end them, once. Of those
        that do not begin it is told, once."""
        now = time.monotonic()
        if self._told or now - self._looked < LOOK_SECONDS:
            return
        ranks = read_heartbeats(self._spec.folder)
        faults = self._silence.look(ranks, now - self._looked)
        self._looked = now
        if not ranks and now - self._begun > BEGIN_SECONDS and not self._told_unbegun:
            self._told_unbegun = True
            self._warn(UNBEGUN.format(duration(now - self._begun)))
        silent = [rank for rank in ranks if rank.rank in faults]
        if not silent:
            return
        self._told = True
        text = "; ".join(
            f"rank {rank.rank} (process {rank.pid} on node {rank.node}) {faults[rank.rank]}"
            for rank in silent
        )
        text += f". Ended by training.hang_timeout: {self._spec.config.training.hang_timeout:g}"
        write_text(self._spec.folder / ERROR_FILE, text)
        self._warn(text)
        for rank in silent:
            _end(rank)

    def _warn(self, text: str) -> None:
        self._screen.print(f"[yellow]warning[/] {escape(f'{self._spec.trial}: {text}')}")


def _end(rank: Heartbeat) -> None:
    """Have the process of a rank killed on its node: a frozen one obeys nothing else."""
    for node in ray.nodes():
        if node["Alive"] and node["NodeManagerHostname"] == rank.node:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            _kill.options(scheduling_strategy=there).remote(rank.pid)
            return


@ray.remote(num_cpus=0)
def _kill(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if " ".join(process.cmdline()).startswith("ray::"):  # its number is still a worker's
            process.kill()
