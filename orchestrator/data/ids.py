"""Whether an id came before, among millions, without keeping one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 16  # a collision among 100 million ids: odds of 1 to 10^22

Digests = NDArray[np.bytes_]  # (n,) of 16 bytes


def id_digests(ids: Iterable[str]) -> Digests:
    """BLAKE2b of each id: equal where the ids are equal."""
    joined = b"".join(hashlib.blake2b(id.encode(), digest_size=DIGEST_BYTES).digest() for id in ids)
    return np.frombuffer(joined, dtype=f"S{DIGEST_BYTES}")


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
