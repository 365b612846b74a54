"""Arrays in files, mapped into memory: of any size, and looked at block by block."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

BLOCK_ROWS = 65_536


def blocks(rows: int) -> list[slice]:
    """All rows, `BLOCK_ROWS` at a time."""
    return [slice(start, min(start + BLOCK_ROWS, rows)) for start in range(0, rows, BLOCK_ROWS)]


def load_array(path: Path) -> NDArray[Any]:
    """A .npy file, memory-mapped."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def new_vectors(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The memory map of a new .npy file of float32, (rows, d), all of whose room is taken.

    Where a disk fills under a memory map, the process is killed without a word.

    Raises:
        OSError: there is not so much room.
    """
    made: NDArray[np.float32] = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return made


def scratch_array(folder: Path | None, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """The memory map of zeros, in a file without a name, which is gone when the array is, or its
    process.

    Args:
        folder: on whose disk the file lies; None: where the system keeps such files.

    Raises:
        OSError: there is not so much room.
    """
    if not (size := math.prod(shape)):
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size * np.dtype(dtype).itemsize)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:  # its passing name would tell nobody anything
        raise OSError(error.errno, error.strerror, folder and str(folder)) from None
