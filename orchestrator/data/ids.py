"""Whether an id came before, among millions, without keeping one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.digests import Digests


class SeenIds:
    """The ids so far. Memory is 16 bytes an id, in sorted runs that double in length."""

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, digests: Digests) -> NDArray[np.bool_]:
        """Take ids in; returns (n,) which of them came before, there or further up."""
        again = np.ones(len(digests), dtype=bool)
        again[np.unique(digests, return_index=True)[1]] = False
        for run in self._runs:
            places = np.searchsorted(run, digests).clip(max=len(run) - 1)
            again |= run[places] == digests
        run = np.sort(digests[~again])
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        if len(run):
            self._runs.append(run)
        return again
