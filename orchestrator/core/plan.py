"""The plan: which row is trained on at which position, and its digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Plan:
    """A sequence of distinct pool rows, or several passes of such, as columns.

    Attributes:
        rows: (n,) int64, rows of the pool in training order.
        turn: (n,) int64; 0, 1, ... counted from the near end, -1, -2, ... from the far end
            (-1 is the farthest turn). All 0 where a method has no turns.
        unit: (n,) int64, the unit that brought the row in.
        distance: (n,) float64, distance of that unit to the query that chose it, or the score
            that a method sorted by; NaN where a method has neither.
        note: what the method has to say about how it worked, for the screen and the report.
        query: (n,) int64, the query that chose that unit, -1 where no single one did; None where
            the method knows of none.
    """

    rows: NDArray[np.int64]
    turn: NDArray[np.int64]
    unit: NDArray[np.int64]
    distance: NDArray[np.float64]
    note: str = ""
    query: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.int64] | slice) -> Plan:
        """The plan made of the given positions, in their order."""
        return Plan(
            self.rows[positions], self.turn[positions], self.unit[positions],
            self.distance[positions], self.note,
            None if self.query is None else self.query[positions],
        )  # fmt: skip


def concatenate(first: Plan, second: Plan) -> Plan:
    """Both plans in a row; of a row that is in both the first occurrence stays."""
    both = Plan(
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.turn, second.turn]),
        np.concatenate([first.unit, second.unit]),
        np.concatenate([first.distance, second.distance]),
        first.note,
        _queries([first, second]),
    )
    _, positions = np.unique(both.rows, return_index=True)
    return both.take(np.sort(positions))


def sandwiched(plan: Plan, near: int | None = None) -> Plan:
    """Near, far, near: the first half of the near part, the far part, the rest of the near part.

    Args:
        plan: from the nearest rows to the farthest. No unit is torn apart inside its near part.
        near: rows of the near part; None: half of the plan.
    """
    ends = np.append(np.flatnonzero(np.diff(plan.unit)) + 1, len(plan))  # of units, by position

    def whole_units(rows: int) -> int:
        return int(ends[np.searchsorted(ends, rows)])

    if near is None:
        near = whole_units(-(-len(plan) // 2))
    half = min(near, whole_units(-(-near // 2)))
    positions = np.arange(len(plan))
    return plan.take(np.concatenate([positions[:half], positions[near:], positions[half:near]]))


def in_passes(passes: Sequence[Plan]) -> Plan:
    """Several passes over the data (epochs), one after another, as one plan.

    Raises:
        ValueError: if they differ in length.
    """
    lengths = [len(plan) for plan in passes]
    if len(set(lengths)) > 1:
        raise ValueError(f"the passes over the data have {lengths} rows, and must be equally long")
    return Plan(
        np.concatenate([plan.rows for plan in passes]),
        np.concatenate([plan.turn for plan in passes]),
        np.concatenate([plan.unit for plan in passes]),
        np.concatenate([plan.distance for plan in passes]),
        passes[0].note,
        _queries(passes),
    )


def _queries(plans: Sequence[Plan]) -> NDArray[np.int64] | None:
    """The queries of plans in a row; None where none of them knows any."""
    if all(plan.query is None for plan in plans):
        return None
    return np.concatenate(
        [np.full(len(plan), -1) if plan.query is None else plan.query for plan in plans]
    )


def set_digest(ids: Iterable[str]) -> str:
    """SHA-256 of a set of instance ids: equal for plans that differ in order alone.

    An id that comes twice counts twice.
    """
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def order_digest(batches: Iterable[Sequence[str]]) -> str:
    """SHA-256 of a sequence of sets of instance ids, one set a step.

    Rows of one global batch may be regrouped, so each set enters sorted.
    """
    digest = hashlib.sha256()
    for step, ids in enumerate(batches):
        digest.update(f"{step}\n".encode())
        digest.update("\n".join(sorted(ids)).encode() + b"\n\n")
    return digest.hexdigest()


def digests(batches: Sequence[Sequence[str]]) -> dict[str, str]:
    """Both digests of instance ids that are trained on, one batch a step: a certificate."""
    return {
        "set_sha256": set_digest(name for ids in batches for name in ids),
        "order_sha256": order_digest(batches),
    }
