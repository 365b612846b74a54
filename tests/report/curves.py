"""Losses and measures of a shape that is known, as trials of a report."""

import numpy as np
import pyarrow as pa

from orchestrator.core.measures import MEASURES
from orchestrator.report.trial import Trial

STEPS = np.arange(0, 60, 10)
TASKS = [f"task {number}" for number in range(8)]


def trial_of(losses, measures=None, *, name="a", seed=0, sets=("query",), method="tma"):
    """A finished trial of given task losses (S, T), and measures (S - 1, T) from step 10 on."""
    tasks, steps = TASKS[: losses.shape[1]], range(0, 10 * len(losses), 10)
    rows = [
        {"step": step, "set": key, "task": task, "loss": losses[at, column] + 10 * number}
        for number, key in enumerate(sets)
        for at, step in enumerate(steps)
        for column, task in enumerate(tasks)
    ]
    tables = {"losses": pa.Table.from_pylist(rows)}
    if measures is not None:
        near = [
            {"step": step, "task": task, **dict.fromkeys(MEASURES, measures[at, column])}
            for at, step in enumerate(steps[1:])
            for column, task in enumerate(tasks)
        ]
        tables["measures"] = pa.Table.from_pylist(near)
    config = {"seed": seed, "arrangement": {"method": method}}
    summary = {"trial": f"{name}-{seed}", "arm": name, "status": "finished"}
    return Trial(summary, config, tables, [])


def smooth():
    return 1 + np.exp(-STEPS / 15)[:, None] + np.arange(len(TASKS)) / 10


def long_smooth():
    return 1 + np.exp(-np.arange(0, 140, 10) / 15)[:, None] * np.arange(1, 9)


def planted(match):
    """Each task's loss drops at a step of its own; its nearest row comes then, or another time."""
    losses = np.tile(3 - 0.01 * np.arange(14)[:, None], (1, len(TASKS)))
    losses[0] += 5  # the fall from the untouched model is no sudden drop
    measures = np.full((13, len(TASKS)), -0.2)
    for task in range(len(TASKS)):
        place = 2 + 3 * (task % 4)
        losses[place:, task] -= 1
        measures[(place if match else 2 + 3 * ((task + 1) % 4)) - 1 :, task] -= 0.5
    return losses, measures
