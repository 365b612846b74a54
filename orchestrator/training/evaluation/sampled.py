"""Which items of the test sets a trial measures at a step, and the losses of those left out.

`core.statistics.sampled` says how items are drawn, and how losses are estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestrator.config.schema import TrialConfig
from orchestrator.core.statistics.sampled import complete, draw, sample_size
from orchestrator.training.spec import Inputs, planned_steps

if TYPE_CHECKING:
    from orchestrator.training.tokens import Tokens


class Part(NamedTuple):
    """Items of a test set.

    Attributes:
        rows: (n,) int64, rising.
        weights: (n,) float64: how many items of its task each of them stands for.
    """

    rows: NDArray[np.int64]
    weights: NDArray[np.float64]


class SetParts:
    """The items of each test set that are measured at a step, and those that are answered."""

    def __init__(self, config: TrialConfig, inputs: Inputs, tokens: Tokens) -> None:
        self._evaluation, sets = config.evaluation, inputs.sets
        self._last = planned_steps(config, len(inputs.plan))
        self._wholes = {name: Part(rows, np.ones(len(rows))) for name, rows in sets.items()}
        self._samples, self.answered = self._wholes, sets
        sample, most = config.evaluation.sample, config.evaluation.generate.max_items
        if sample is None and most is None:
            return
        # An item without a loss tells nothing of the others.
        learned = {name: rows[tokens.answer_counts(rows) > 0] for name, rows in sets.items()}
        parts = {name: (rows, inputs.tasks[rows]) for name, rows in learned.items()}
        if sample is not None:
            self._samples = {
                name: _part(rows, tasks, sample_size(len(rows), len(set(tasks)), sample), config)
                for name, (rows, tasks) in parts.items()
            }
        if most is not None:
            self.answered = {name: _part(*part, most, config).rows for name, part in parts.items()}

    def measured(self, step: int) -> dict[str, Part]:
        """The part of each test set whose losses are measured after a step."""
        whole = self._evaluation.measures_whole(step, self._last)
        return self._wholes if whole else self._samples


def _part(
    rows: NDArray[np.int64], tasks: NDArray[np.object_], count: int, config: TrialConfig
) -> Part:
    """So many of the rows, drawn by their tasks."""
    names, task, sizes = np.unique(tasks, return_inverse=True, return_counts=True)
    drawn = draw(tasks, count, config.seed)
    counts = np.bincount(task[drawn], minlength=len(names))
    return Part(rows[drawn], (sizes / np.maximum(counts, 1))[task[drawn]])


def completed(losses: pa.Table) -> pa.Table:
    """A trial's table of losses with a line for every item at every measured step.

    Returns:
        The table itself where no line is missing; else step, set, id, task and loss, `estimated`,
        and `margin`: how far the mean of the set at that step may be off, with 95% confidence.
    """
    names = losses["set"].unique().to_pylist()
    parts = [losses.filter(pc.equal(losses["set"], name)) for name in names]
    if all(_is_whole(part) for part in parts):
        return losses
    return pa.concat_tables([_completed(part) for part in parts])


def _is_whole(part: pa.Table) -> bool:
    return len(set(part["step"].value_counts().field("counts").to_pylist())) <= 1


def _completed(part: pa.Table) -> pa.Table:
    """All lines of one test set; items come in the order of the first step."""
    steps, at = np.unique(part["step"].to_numpy(), return_inverse=True)
    ids = pc.dictionary_encode(part["id"]).combine_chunks()
    item, names = ids.indices.to_numpy(), ids.dictionary.to_numpy(zero_copy_only=False)
    tasks = np.empty(len(names), object)
    tasks[item] = part["task"].to_numpy()
    grid, measured = np.full((len(steps), len(names)), np.nan), np.zeros((len(steps), len(names)))
    grid[at, item] = part["loss"].to_numpy()
    measured[at, item] = 1
    losses, margins = complete(grid, tasks.astype(str))
    loss = losses.ravel()
    return pa.table(
        {
            "step": np.repeat(steps, len(names)),
            "set": [part["set"][0].as_py()] * len(loss),
            "id": np.tile(names, len(steps)),
            "task": np.tile(tasks, len(steps)),
            "loss": pa.array(loss, mask=np.isnan(loss)),
            "estimated": ~np.isnan(loss) & (measured.ravel() == 0),
            "margin": np.repeat(margins, len(names)),
        }
    )
