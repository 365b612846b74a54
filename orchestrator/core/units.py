"""What an arrangement moves: single instances, or all instances of a task together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Floats

# Rows that are copied at once.
BLOCK_ROWS = 65_536

New = Callable[[tuple[int, ...], type[np.int64]], NDArray[np.int64]]  # of a shape, unfilled


@dataclass(frozen=True)
class Units:
    """A partition of the pool's rows.

    Attributes:
        rows: (rows,) int64, all rows of the pool, unit by unit.
        starts: (units + 1,) int64; unit u holds rows[starts[u]:starts[u + 1]].
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(units,) int64: rows in each unit."""
        return np.diff(self.starts)

    def sizes_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(units),) int64: rows in each of the given units, without a look at the others."""
        sizes: NDArray[np.int64] = self.starts[units + 1] - self.starts[units]
        return sizes

    def expand(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the given units, in their order, as int64."""
        sizes = self.sizes_of(units)
        ends = np.cumsum(sizes)
        inside = np.arange(sizes.sum()) - np.repeat(ends - sizes, sizes)
        rows: NDArray[np.int64] = self.rows[np.repeat(self.starts[units], sizes) + inside]
        return rows


def instances(count: int, new: New = np.empty) -> Units:
    """Every row is a unit of its own (fine granularity).

    Args:
        new: makes the array of their starts, as `numpy.empty` does.
    """
    starts = new((count + 1,), np.int64)
    for first in range(0, count + 1, BLOCK_ROWS):
        end = min(first + BLOCK_ROWS, count + 1)
        starts[first:end] = np.arange(first, end)
    return Units(starts[:-1], starts)


def groups(labels: NDArray[np.integer[Any]], new: New = np.empty) -> Units:
    """One unit for each label (coarse granularity).

    Units are numbered by the first row in which their label appears; inside a unit rows keep
    the order of the pool.

    Args:
        labels: (rows,) integers, the task of each row.
        new: makes the array of all rows, as `numpy.empty` does.
    """
    numbers: dict[int, int] = {}
    sizes = Counter[int]()
    for _, block in _numbered(labels, numbers):
        sizes.update(dict(enumerate(np.bincount(block).tolist())))
    starts = np.cumsum([0, *(sizes[unit] for unit in range(len(numbers)))])
    rows, filled = new((len(labels),), np.int64), starts[:-1].copy()
    for first, block in _numbered(labels, numbers):
        order = np.argsort(block, kind="stable")
        counts = np.bincount(block, minlength=len(numbers))
        # Where each unit goes on, and how many of its rows in this block come before.
        before = np.arange(len(block)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows[filled[block[order]] + before] = first + order
        filled += counts
    return Units(rows, starts)


def _numbered(
    labels: NDArray[np.integer[Any]], numbers: dict[int, int]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Labels block by block, as numbers in the order in which they appear; new ones are added.

    Yields:
        The first row of a block, and (rows of it,) int64.
    """
    for first in range(0, len(labels), BLOCK_ROWS):
        found, at, inverse = np.unique(
            labels[first : first + BLOCK_ROWS], return_index=True, return_inverse=True
        )
        for label in found[np.argsort(at)].tolist():
            numbers.setdefault(label, len(numbers))
        yield first, np.array([numbers[label] for label in found.tolist()], np.int64)[inverse]


def unit_of_rows(units: Units) -> NDArray[np.int64]:
    """Returns the unit of each row of the pool, (rows,) int64."""
    unit = np.empty(len(units.rows), np.int64)
    unit[units.rows] = np.repeat(np.arange(len(units)), units.sizes)
    return unit


def units_digest(units: Units) -> str:
    """Returns the SHA-256 of a partition: of which rows are a unit, and in which order."""
    digest = hashlib.sha256(units.starts.tobytes())
    digest.update(units.rows.tobytes())
    return digest.hexdigest()


def unit_vectors(vectors: Floats, units: Units) -> Floats:
    """Mean vector of each unit, scaled to length one for the cosine.

    Args:
        vectors: (rows, d) unit vectors, perhaps memory-mapped.

    Returns:
        (units, d) float32; the input itself where every row is a unit.
    """
    if len(units) == len(vectors) and np.array_equal(units.rows, units.starts[:-1]):
        return vectors
    sums = np.zeros((len(units), vectors.shape[1]))
    for first in range(0, len(units.rows), BLOCK_ROWS):
        block = vectors[units.rows[first : first + BLOCK_ROWS]].astype(np.float64)
        # The units that have rows in this block; the first may have begun in an earlier one.
        begin = np.searchsorted(units.starts, first, side="right") - 1
        end = np.searchsorted(units.starts, first + len(block), side="left")
        starts = np.maximum(units.starts[begin:end] - first, 0)
        sums[begin:end] += np.add.reduceat(block, starts, axis=0)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    means: NDArray[np.float64] = sums / np.maximum(norms, np.finfo(np.float64).tiny)
    return means.astype(np.float32)
