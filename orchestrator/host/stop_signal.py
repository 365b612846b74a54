"""SIGTERM ends a study as Ctrl-C does: checkpoints stay, its report and its record are closed.

Both do so from its start to its end, whatever handlers Ray leaves behind.
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

    Ray takes SIGTERM for good while it starts, Ray Tune SIGINT and SIGUSR1 while trials run.
    """
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        if _in_main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def stop_on_sigterm() -> None:
    """From now on SIGTERM ends the study as Ctrl-C does, however often it comes.

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
