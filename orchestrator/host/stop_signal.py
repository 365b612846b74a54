"""SIGTERM ends a study as Ctrl-C does: checkpoints stay, its report and its record are closed.

What Ray Tune and Ray Train make of them while they run ends with them.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def signals_kept(*signals: signal.Signals) -> Iterator[None]:
    """After the block the signals do what they did before, whoever took them meanwhile.

    Ray takes SIGTERM when it starts, Ray Tune SIGINT and SIGUSR1, and Ray Train SIGINT when they
    run; none of them gives it back.
    """
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def stop_on_sigterm() -> None:
    """From now on the first SIGTERM ends the study as Ctrl-C does; later ones do nothing.

    Ray's own handler ends Ray's processes, without which this one aborts: nothing is closed.
    """
    if not _in_main_thread():
        return
    came = threading.Event()

    def stop(number: int, frame: Any) -> None:
        if not came.is_set():
            came.set()
            ctrl_c = signal.getsignal(signal.SIGINT)  # Ray Tune's own, while trials run
            (ctrl_c if callable(ctrl_c) else signal.default_int_handler)(signal.SIGINT, frame)

    signal.signal(signal.SIGTERM, stop)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
