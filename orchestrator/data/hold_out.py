"""Which instances of a set are held out: taken by the hash of seed and id, or whole tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.config.hold_out import HoldOut
from orchestrator.data.draws import drawn_numbers, lowest
from orchestrator.data.instance import UNLABELLED
from orchestrator.data.spool import Mask
from orchestrator.data.table import word_counts
from orchestrator.errors import DataError

HELD_OUT = "held out"  # why an instance is left out of its set
PURPOSE = "held_out"  # of the draw


def held_out_rows(hold_out: HoldOut, column: Callable[[str], Iterator[pa.ChunkedArray]]) -> Mask:
    """Returns (n,) which instances of a set are held out.

    Memory is 16 bytes an instance, or the tasks.

    Args:
        column: yields the column `id` or `task` of the set, piece by piece.

    Raises:
        DataError: that would be none of them, or all.
    """
    if hold_out.by == "task":
        return _whole_tasks(hold_out, column)
    pieces = [drawn_numbers(PURPOSE, hold_out.seed, ids.to_pylist()) for ids in column("id")]
    numbers = np.concatenate([np.zeros(0, np.uint64), *pieces])
    return lowest(numbers, _count(hold_out, len(numbers), "instances"))


def _whole_tasks(hold_out: HoldOut, column: Callable[[str], Iterator[pa.ChunkedArray]]) -> Mask:
    sizes: Counter[str] = Counter()
    for tasks in column("task"):
        sizes.update(word_counts(tasks))
    names = sorted(sizes.keys() - {UNLABELLED})
    if len(names) < 2:
        raise DataError(
            f"data.held_out takes whole tasks, and data.{hold_out.origin} has "
            f"{'one' if names else 'none'}: set data.held_out.by: instance"
        )
    order = np.argsort(drawn_numbers(PURPOSE, hold_out.seed, names), kind="stable")
    if hold_out.rows is None:
        count = _count(hold_out, len(names), "tasks")
    else:
        held = np.cumsum([sizes[names[place]] for place in order])
        count = int(np.searchsorted(held, hold_out.rows)) + 1
        if count >= len(names):
            raise DataError(
                f"data.held_out.rows is {hold_out.rows:,}, and no task of data.{hold_out.origin} "
                f"would be left: set it to {held[-2]:,} or fewer"
            )
    chosen = pa.array([names[place] for place in order[:count]], pa.string())
    masks = [pc.is_in(tasks, chosen).to_numpy() for tasks in column("task")]
    return np.concatenate(masks)


def _count(hold_out: HoldOut, size: int, what: str) -> int:
    """How many of `size` instances or tasks are held out."""
    of = f"data.{hold_out.origin} has {size:,} {what}"
    if size < 2:
        raise DataError(f"data.held_out takes a part, and {of}: name a source with more of them")
    if hold_out.rows is not None:
        if hold_out.rows >= size:
            raise DataError(
                f"data.held_out.rows is {hold_out.rows:,}, and {of}, of which none would be left: "
                f"set it to {size - 1:,} or fewer"
            )
        return hold_out.rows
    assert hold_out.fraction is not None, "one of the two is given"
    count = int(hold_out.fraction * size + 0.5)
    if not 0 < count < size:
        raise DataError(
            f"data.held_out.fraction is {hold_out.fraction:g}, and {of}, of which that is "
            f"{'all' if count else 'none'}: set it to something from {1 / size:.3g} to "
            f"{1 - 1 / size:.3g}"
        )
    return count
