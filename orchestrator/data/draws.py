"""Draws among ids or tasks by the hash of each with a seed: on their order they do not depend."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.digests import text_digests


def drawn_numbers(purpose: str, seed: int, names: Iterable[str]) -> NDArray[np.uint64]:
    """Returns (n,) what each name draws: who has the lowest numbers is taken.

    Args:
        purpose: of the draw; draws for different ones are independent, also with one seed.
    """
    digests = text_digests(f"{purpose}:{seed}:{name}" for name in names)
    return digests.view(">u8")[::2].astype(np.uint64)  # of 16 bytes the first 8


def lowest(numbers: NDArray[np.uint64], count: int) -> NDArray[np.bool_]:
    """Returns (n,) which are the `count` lowest numbers, the first of equal ones."""
    taken = np.zeros(len(numbers), dtype=bool)
    taken[np.argsort(numbers, kind="stable")[:count]] = True
    return taken
