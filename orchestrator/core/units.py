"""What an arrangement moves: single instances, or all instances of a task together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Floats


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

    def expand(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of the given units, in their order, as int64."""
        parts = [self.rows[self.starts[u] : self.starts[u + 1]] for u in units]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


def instances(count: int) -> Units:
    """Every row is a unit of its own (fine granularity)."""
    return Units(np.arange(count, dtype=np.int64), np.arange(count + 1, dtype=np.int64))


def groups(labels: NDArray[np.int64]) -> Units:
    """One unit for each label (coarse granularity).

    Units are numbered by the first row in which their label appears; inside a unit rows keep
    the order of the pool.

    Args:
        labels: (rows,) int64, the task of each row.
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    unit = rank[inverse]
    starts = np.concatenate([[0], np.cumsum(np.bincount(unit, minlength=len(first)))])
    return Units(np.argsort(unit, kind="stable"), starts.astype(np.int64))


def unit_vectors(vectors: Floats, units: Units) -> Floats:
    """Mean vector of each unit, scaled to length one for the cosine.

    Args:
        vectors: (rows, d) unit vectors.

    Returns:
        (units, d) float32; the input itself where every row is a unit.
    """
    if len(units) == len(vectors) and np.array_equal(units.rows, np.arange(len(vectors))):
        return vectors
    sums = np.add.reduceat(vectors[units.rows].astype(np.float64), units.starts[:-1], axis=0)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    means: NDArray[np.float64] = sums / np.maximum(norms, np.finfo(np.float64).tiny)
    return means.astype(np.float32)
