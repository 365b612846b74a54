"""The order certificate: what the model was fed, against what was planned.

A plan holds all passes over its data (epochs) one after another, each of them equally long.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import OrderError

Count = TypeVar("Count", int, NDArray[np.int64])


def step_count(rows: int, global_batch: int, max_steps: int | None = None, epochs: int = 1) -> int:
    """Optimizer steps of a plan; the last, short batch of each pass is a step too.

    Args:
        rows: of the plan, over all its passes.
    """
    steps = epochs * -(-(rows // epochs) // global_batch)
    return steps if max_steps is None else min(steps, max_steps)


def rows_fed(steps: Count, rows: int, global_batch: int, epochs: int = 1) -> Count:
    """How many rows of a plan are fed in its first steps.

    Step t is fed the plan rows [rows_fed(t - 1), rows_fed(t)). No batch reaches from one pass into
    the next, so that none holds a row twice.

    Args:
        steps: a number of steps of the plan, or (n,) int64 of them.
        rows: of the plan, over all its passes.
    """
    length = rows // epochs
    passes, rest = divmod(steps, max(1, -(-length // global_batch)))
    fed: Count = passes * length + np.minimum(rest * global_batch, length)
    return fed


def check_order(
    planned: NDArray[np.int64],
    realised_steps: NDArray[np.int64],
    realised_rows: NDArray[np.int64],
    global_batch: int,
    steps: int,
    epochs: int = 1,
) -> None:
    """Prove that each step was fed exactly its planned rows, as `rows_fed` counts them.

    Args:
        planned: (n,) int64, rows in planned order, of all passes.
        realised_steps: (m,) int64, the step (from 1) of each row that was fed.
        realised_rows: (m,) int64, those rows, in any order inside a step.
        global_batch: rows of a step.
        steps: optimizer steps that the trial had to make.
        epochs: passes over the data that the plan holds.

    Raises:
        OrderError: naming the first step that differs, and its missing and surplus rows.
    """
    ends = rows_fed(np.arange(steps + 1), len(planned), global_batch, epochs)
    planned = planned[: ends[-1]]
    planned_steps = np.repeat(np.arange(1, steps + 1), np.diff(ends))
    expected = np.stack([planned_steps, planned])[:, np.lexsort((planned, planned_steps))]
    order = np.lexsort((realised_rows, realised_steps))
    realised = np.stack([realised_steps, realised_rows])[:, order]
    if np.array_equal(expected, realised):
        return
    for step in range(1, int(max(steps, realised_steps.max(initial=0))) + 1):
        want, got = expected[1, expected[0] == step], realised[1, realised[0] == step]
        if not np.array_equal(want, got):
            raise OrderError(
                f"step {step} was not fed its planned rows: {len(got)} rows instead of "
                f"{len(want)}, missing {_some(_surplus(want, got))}, "
                f"surplus {_some(_surplus(got, want))}"
            )
    raise OrderError(f"rows were recorded outside the steps 1 to {steps}")


def _surplus(these: NDArray[np.int64], those: NDArray[np.int64]) -> list[int]:
    """What is in these and not in those, counted as often as it occurs."""
    rest = list(those)
    result = []
    for row in these:
        if row in rest:
            rest.remove(row)
        else:
            result.append(int(row))
    return result


def _some(rows: list[int]) -> str:
    return (", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")) or "none"
