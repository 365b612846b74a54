"""The order certificate: what the model was fed, against what was planned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import OrderError


def step_count(rows: int, global_batch: int, max_steps: int | None = None) -> int:
    """Optimizer steps of a plan; the last, short batch is a step too."""
    steps = -(-rows // global_batch)
    return steps if max_steps is None else min(steps, max_steps)


def check_order(
    planned: NDArray[np.int64],
    realised_steps: NDArray[np.int64],
    realised_rows: NDArray[np.int64],
    global_batch: int,
    steps: int,
) -> None:
    """Prove that step t was fed exactly the rows planned[(t - 1) * B : t * B].

    Args:
        planned: (n,) int64, rows in planned order.
        realised_steps: (m,) int64, the step (from 1) of each row that was fed.
        realised_rows: (m,) int64, those rows, in any order inside a step.
        global_batch: B, in rows.
        steps: optimizer steps that the trial had to make.

    Raises:
        OrderError: naming the first step that differs, and its missing and surplus rows.
    """
    planned = planned[: steps * global_batch]
    planned_steps = np.arange(len(planned)) // global_batch + 1
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
