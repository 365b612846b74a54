"""Signs of life of a rank, for whoever watches over its trial: a small file, written each second.

The loop counts its pieces of work in memory, which takes no time and waits for no disk; a thread
writes the count down. A frozen process writes no more, one that hangs writes the same count again.
Of a process, as `torch.distributed` is: what computes need not be handed anything to give a sign.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.storage.files import HEARTBEATS_FOLDER

WRITE_SECONDS = 1.0
# Each is written over the one before: a full disk has room for it, and nobody reads half of it.
WIDTH = 1024
LOADING = "while it loads"


@dataclass
class Heartbeat:
    """What a rank tells of itself.

    Attributes:
        rank: its number.
        node: name of its host.
        pid: of its process there.
        written: times that it was written.
        done: pieces of work that the rank has done: micro-batches, steps, evaluations.
        doing: what it has done last a part of, as the end of a sentence.
        ended: what it has done to an end at least once, of such.
    """

    rank: int
    node: str
    pid: int
    written: int = 0
    done: int = 0
    doing: str = LOADING
    ended: list[str] = field(default_factory=list)


_heartbeats: list[Heartbeat] = []  # of this process: one, while it runs a trial


def beat(doing: str | None = None) -> None:
    """Tell that another piece of work is done; nothing where nobody watches over this process.

    Args:
        doing: what begins now; None: more of the same.
    """
    for heartbeat in _heartbeats:
        heartbeat.done += 1
        if doing is not None:
            if heartbeat.doing not in heartbeat.ended:
                heartbeat.ended = [*heartbeat.ended, heartbeat.doing]
            heartbeat.doing = doing


@contextmanager
def heartbeats(trial_folder: Path, rank: int) -> Iterator[None]:
    """Give signs of life for the time of the block.

    Args:
        trial_folder: on storage that the watcher sees.
    """
    own = Heartbeat(rank, socket.gethostname(), os.getpid())
    path = trial_folder / HEARTBEATS_FOLDER / f"rank-{rank}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_record(own))
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(WRITE_SECONDS):
            own.written += 1
            with suppress(OSError), path.open("r+b") as file:  # closed: other nodes see it
                file.write(_record(own))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    _heartbeats[:] = [own]
    try:
        yield
    finally:
        _heartbeats.clear()
        ended.set()
        writer.join()
        path.unlink(missing_ok=True)
        with suppress(OSError):  # another rank's is there
            path.parent.rmdir()


def _record(heartbeat: Heartbeat) -> bytes:
    return json.dumps(asdict(heartbeat)).encode().ljust(WIDTH)


def read_heartbeats(trial_folder: Path) -> list[Heartbeat]:
    """The newest sign of each rank of a trial, by rank; none before the ranks are there."""
    found = []
    for path in (trial_folder / HEARTBEATS_FOLDER).glob("rank-*.json"):
        with suppress(OSError, ValueError):  # gone meanwhile, or not whole yet
            found.append(Heartbeat(**json.loads(path.read_bytes())))
    return sorted(found, key=lambda heartbeat: heartbeat.rank)


def forget_heartbeats(trial_folder: Path) -> None:
    """Remove what ranks left that were killed, before others begin."""
    for path in (trial_folder / HEARTBEATS_FOLDER).glob("rank-*.json"):
        path.unlink(missing_ok=True)
