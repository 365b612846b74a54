"""What a process of a study holds without need: garbage in cycles, and what malloc keeps."""

from __future__ import annotations

import atexit
import ctypes
import gc


def collect_seldom() -> None:
    """Look for garbage a hundred times less often, and not at the end of the process.

    To look through the libraries of a study takes a second while they are imported and two when the
    process ends. What cycles hold is freed all the same: later, or where memory runs out.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def give_back() -> None:
    """Free what cycles hold, and return to the system what malloc keeps for later.

    glibc keeps the freed memory of each thread in arenas of its own: gigabytes after a trial, which
    the threads of the next trial do not use.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim:
        trim(0)
