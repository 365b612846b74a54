"""Ray's own death while a study runs: found within seconds, and told in a sentence.

Without its raylet a driver waits for ever, without its GCS it is ended after a minute, both without
a word. Here a thread asks whether Ray still lives, and where it does not, interrupts what waits for
it, as Ctrl-C would.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
import ray

from orchestrator.errors import RayDied
from orchestrator.screen import last_words

LOOK_SECONDS = 1.0
# In which what is interrupted closes MLflow's runs, and Ray is shut down: some calls of a Ray that
# has died never return, or end the process after a minute.
END_SECONDS = 20.0
INTERRUPT = signal.SIGUSR2  # Ray Tune takes the others for a wish to end in good order
KNOCK_SECONDS = 10.0
AWAY_SECONDS = 25.0
Death = Callable[[], RayDied | None]
_last: list[Callable[[], None]] = []  # of this process
_found = threading.Event()  # that the Ray of this process has died


@contextmanager
def told_if_ray_dies(death: Death, shutdown: Callable[[], None]) -> Iterator[None]:
    """End the block where Ray has died, whatever it waits for, if it runs in the main thread.

    Args:
        death: tells what of Ray has died, None while it lives.
        shutdown: ends what is left of Ray, after the block.

    Raises:
        RayDied: in place of whatever ended the block, where Ray had died before.
    """
    over, timers = threading.Event(), list[threading.Timer]()
    _found.clear()

    def told() -> RayDied | None:
        """What has died; whatever happens then, this process ends soon."""
        if died := death():
            _found.set()
            timers.append(threading.Timer(END_SECONDS, _leave, [died]))
            timers[-1].daemon = True
            timers[-1].start()
        return died

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if told():
                signal.pthread_kill(threading.main_thread().ident or 0, INTERRUPT)
                return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        # What has been told of it already is closing what it opened, and is left to it.
        if not over.is_set() and sys.exc_info()[0] is None:
            raise KeyboardInterrupt

    mine = threading.current_thread() is threading.main_thread()
    before = signal.signal(INTERRUPT, interrupt) if mine else None
    if mine:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except BaseException:
        if died := told():
            raise died from None
        raise
    finally:
        over.set()
        shutdown()
        for timer in timers:
            timer.cancel()
        if mine:
            signal.signal(INTERRUPT, before)


def ray_has_died() -> bool:
    """Whether a KeyboardInterrupt comes from Ray's death. Its type cannot tell: calls of Ray raise
    one of their own in its place."""
    return _found.is_set()


@contextmanager
def closed_anyway(close: Callable[[], None]) -> Iterator[None]:
    """Have something closed if the block never ends, since Ray has died in a call of it.

    Args:
        close: called by another thread than the one that runs the block, before the process ends.
    """
    _last.append(close)
    try:
        yield
    finally:
        _last.remove(close)


def _leave(error: RayDied) -> None:
    """End this process, whose main thread does not come back from a call of Ray's."""
    for close in _last:
        with suppress(Exception):
            close()
    last_words(f"error: {error}")
    for process in psutil.Process().children(recursive=True):
        process.kill()
    os._exit(error.exit_code)


def local_death(logs: Path) -> Death:
    """Asks for the processes that this one has started Ray with.

    Args:
        logs: folder of Ray's.
    """
    started = {
        process.name(): process
        for process in psutil.Process().children()
        if process.name() in ("gcs_server", "raylet")
    }

    def death() -> RayDied | None:
        for name, process in started.items():
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return RayDied(name, str(logs))
        return None

    return death


def joined_death(address: str) -> Death:
    """Asks the GCS of a cluster, and it for the raylet of this node.

    Args:
        address: of the GCS, as host:port.
    """
    own, answered = ray.get_runtime_context().get_node_id(), time.monotonic()

    def death() -> RayDied | None:
        nonlocal answered
        try:
            knock(address)
        except OSError:  # it may be started anew; Ray itself gives up after a minute
            away = time.monotonic() - answered > AWAY_SECONDS
            return RayDied(f"GCS at {address}", "its logs on that machine") if away else None
        answered = time.monotonic()
        here = [node for node in ray.nodes() if node["NodeID"] == own]
        return (
            None
            if here and here[0]["Alive"]
            else RayDied("raylet of this node", "its logs on that machine")
        )

    return death


def knock(address: str) -> None:
    """Raises an OSError where nothing listens at host:port."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except ValueError:
        raise ConnectionError("it is no host:port") from None
