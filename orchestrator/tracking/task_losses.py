"""The losses of every task as one figure: a run of MLflow has room for the means only."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.data.dataset import TEST_SETS
from orchestrator.training.evaluation.sampled import completed

NAMED_TASKS = 60  # beyond, names would lie on each other
ROW_INCHES, GAP_INCHES = 0.2, 0.9


def draw_task_losses(losses: pa.Table) -> Figure:
    """A heat map for each test set: tasks by their last loss, lowest first, against the step.

    Args:
        losses: losses.parquet of a trial; cells of instances without a loss are left empty,
            losses of those that were left out at a step are estimated.
    """
    means = completed(losses).group_by(["set", "task", "step"]).aggregate([("loss", "mean")])
    sets = [name for name in TEST_SETS if pc.any(pc.equal(means["set"], name)).as_py()]
    grids = [_grid(means.filter(pc.equal(means["set"], name))) for name in sets]
    heights = [max(4, min(len(tasks), NAMED_TASKS)) for tasks, _, _ in grids]
    height = ROW_INCHES * sum(heights) + GAP_INCHES * len(sets)
    # Margins in inches, by hand: a layout engine would take most of the time.
    figure = Figure(figsize=(7, height))
    FigureCanvasAgg(figure)
    every = figure.subplots(
        len(sets), 1, squeeze=False,
        gridspec_kw={
            "height_ratios": heights, "left": 0.3, "right": 0.98,
            "top": 1 - 0.35 / height, "bottom": 0.5 / height,
            "hspace": GAP_INCHES * len(sets) / (ROW_INCHES * sum(heights)),
        },
    ).ravel()  # fmt: skip
    lowest, highest = pc.min_max(means["loss_mean"]).as_py().values()
    limits = {"vmin": lowest, "vmax": highest}  # one scale: sets can be compared
    for axes, name, (tasks, steps, grid) in zip(every, sets, grids, strict=True):
        drawn = axes.imshow(grid, aspect="auto", interpolation="nearest", cmap="cividis", **limits)
        axes.set_title(f"{name.replace('_', '-')} set: loss by task", fontsize=10)
        axes.set_xlabel("Optimizer step")
        ticks = range(0, len(steps), -(-len(steps) // 8))
        axes.set_xticks(ticks, steps[ticks])
        if len(tasks) <= NAMED_TASKS:
            names = [task if len(task) <= 40 else f"{task[:39]}…" for task in tasks]
            axes.set_yticks(range(len(tasks)), names, fontsize=6, parse_math=False)
        else:
            axes.set_ylabel(f"{len(tasks):,} tasks")
    figure.colorbar(drawn, ax=every.tolist(), aspect=40, pad=0.02)
    return figure


def _grid(means: pa.Table) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Tasks, steps and their (tasks, steps) losses, NaN where there is none."""
    names, task = np.unique(means["task"].to_numpy().astype(str), return_inverse=True)
    steps, step = np.unique(means["step"].to_numpy(), return_inverse=True)
    grid = np.full((len(names), len(steps)), np.nan)
    grid[task, step] = means["loss_mean"].to_numpy()
    order = np.argsort(grid[:, -1], kind="stable")
    return names[order].tolist(), steps, grid[order]
