"""When trials that run side by side will have ended."""

from __future__ import annotations

from collections.abc import Sequence


def time_left(lefts: Sequence[float], at_once: int) -> float:
    """Seconds until all of some trials have ended; 0 of none.

    Args:
        lefts: seconds that each of them still computes.
        at_once: how many compute at the same time, at most.
    """
    return max(*lefts, sum(lefts) / min(at_once, len(lefts))) if lefts else 0.0
