"""Digests of millions of texts, each with its number, in an order in which they are found again.

They lie in files, as other arrays with a few numbers a text would fill the driver's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.digests import DIGEST_BYTES, Digests, text_digests
from orchestrator.stages.mapped import blocks, scratch_array

# The highest byte of a number first, so that entries sort as their bytes do.
ENTRY = np.dtype([("digest", f"S{DIGEST_BYTES}"), ("number", ">u8")])


class NumberedDigests:
    """Digests, numbered from 0 on in the order in which they are given.

    Args:
        parts: (n,) digests of each part, one after the other.
        count: of all of them.
        folder: on whose disk they lie meanwhile, with 24 bytes each.

    Raises:
        OSError: there is not so much room.
    """

    def __init__(self, parts: Iterable[Digests], count: int, folder: Path) -> None:
        self._entries = scratch_array(folder, ENTRY, (count,))
        at = 0
        for part in parts:
            here = self._entries[at : at + len(part)]
            here["digest"], here["number"] = part, np.arange(at, at + len(part))
            at += len(part)
        sort_entries(self._entries)

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """(n,) the lowest number of each digest; -1 of one that is not there."""
        if not len(self._entries):
            return np.full(len(digests), -1)
        least = digests.astype(f"S{ENTRY.itemsize}")  # as if numbered 0
        at = np.searchsorted(_as_bytes(self._entries), least)
        found = self._entries[np.minimum(at, len(self._entries) - 1)]
        return np.where(found["digest"] == digests, found["number"].astype(np.int64), -1)

    def firsts(self) -> NDArray[np.bool_]:
        """(count,) which numbers are the lowest of their digest."""
        lowest = np.zeros(len(self._entries), np.bool_)
        for block in blocks(len(self._entries)):
            new = starts_anew(self._entries["digest"], block)
            lowest[self._entries["number"][block][new].astype(np.int64)] = True
        return lowest


def digests_in_file(texts: Iterator[str], count: int, folder: Path) -> Digests:
    """What `text_digests` says of so many texts, (count,), memory-mapped."""
    digests: Digests = scratch_array(folder, f"S{DIGEST_BYTES}", (count,))
    for block in blocks(count):
        digests[block] = text_digests(islice(texts, block.stop - block.start))
    return digests


def sort_entries(entries: NDArray[Any]) -> None:
    """Sort in place, by the bytes of each."""
    _as_bytes(entries).sort()


def starts_anew(ordered: NDArray[Any], block: slice) -> NDArray[np.bool_]:
    """Which rows of a block differ from the one before; the very first does."""
    new = np.ones(block.stop - block.start, np.bool_)
    before = max(1, block.start)
    new[before - block.start :] = (
        ordered[before : block.stop] != ordered[before - 1 : block.stop - 1]
    )
    return new


def _as_bytes(entries: NDArray[Any]) -> NDArray[np.bytes_]:
    return entries.view(f"S{entries.dtype.itemsize}")
