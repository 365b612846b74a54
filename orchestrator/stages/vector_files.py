"""Vectors that a user brings as .npy files: opened, looked through and scaled, block by block.

No file is ever loaded whole. Not for vectors that this project wrote: those are float32 of length
one, in files that begin as `mapped.new_vectors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Floats
from orchestrator.errors import DataError
from orchestrator.stages.mapped import blocks
from orchestrator.storage import lfs

UNIT = 1e-6  # how far the length of a float32 vector may be from one, to be left as it is


class Survey(NamedTuple):
    """What is found in vectors.

    Attributes:
        bad: (n,) int64, the positions of those that are zero, infinite or not a number, rising.
        unit: whether all of them are float32 of length one.
    """

    bad: NDArray[np.int64]
    unit: bool


def open_vectors(path: Path) -> NDArray[Any]:
    """A .npy file of shape (rows, dimensions), memory-mapped.

    Raises:
        DataError: it cannot be read, or holds something else than floating-point numbers.
    """
    try:
        if lfs.is_pointer(path):
            raise DataError(f"{path} {lfs.ADVICE}")
        vectors: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read ({reason}): write it with numpy.save") from None
    check_vectors(vectors, str(path))
    return vectors


def check_vectors(vectors: NDArray[Any], name: str) -> None:
    """Refuse what is not floating-point numbers of shape (rows, dimensions).

    Args:
        name: what an error calls them.

    Raises:
        DataError: saying what they are.
    """
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not vectors.size:
        raise DataError(
            f"{name} holds {vectors.dtype} of shape {vectors.shape}: give floating-point numbers "
            "of shape (rows, dimensions)"
        )


def survey(vectors: NDArray[Any], rows: NDArray[np.int64] | None = None) -> Survey:
    """Look through some rows of vectors, or all of them, in the order asked for.

    Args:
        vectors: (n, d) floating-point numbers, perhaps memory-mapped.
    """
    bad, farthest = [np.empty(0, np.int64)], 0.0
    for block in blocks(len(vectors) if rows is None else len(rows)):
        norms = _norms(vectors[block if rows is None else rows[block]])
        sound = np.isfinite(norms) & (norms > 0)
        bad.append(block.start + np.flatnonzero(~sound))
        farthest = max(farthest, float(np.abs(norms[sound] - 1).max(initial=0)))
    return Survey(np.concatenate(bad), vectors.dtype == np.float32 and farthest < UNIT)


def write_unit(
    vectors: NDArray[Any], out: Floats, unit: bool, rows: NDArray[np.int64] | None = None
) -> None:
    """Write some rows of vectors, or all of them, with length one.

    Args:
        vectors: (n, d) floating-point numbers without a bad row among those asked for.
        out: (rows, d) float32, perhaps memory-mapped.
        unit: as `survey` found of the same rows; True: they are copied as they are.
    """
    for block in blocks(len(out)):
        part = vectors[block if rows is None else rows[block]]
        out[block] = part if unit else part / _norms(part)[:, None]


def _norms(block: NDArray[Any]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(block.astype(np.float64), axis=1)
    return norms
