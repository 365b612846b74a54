"""Python's collector of garbage in processes that import a million objects which stay."""

from __future__ import annotations

import atexit
import gc


def collect_seldom() -> None:
    """Look for garbage a hundred times less often, and not at the end of the process.

    To look through the libraries of a study takes a second while they are imported and two when the
    process ends. What cycles hold is freed all the same: later, or where memory runs out.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
