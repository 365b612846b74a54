"""What share of a trial's computing its evaluation is, by counting floating point operations.

Of a model with N weights a token costs, with attention over the row left out (it is small beside
the weights for rows of a few thousand tokens; Kaplan et al., arXiv 2001.08361, section 2.1):

    forward                          2 N    measured, or generated, or of a prompt that is answered
    forward and backward             6 N    trained
    of these an adapter leaves out   2 N    the gradients of the weights that are frozen
    forward once more                2 N    trained with gradient_checkpointing

so that N is not needed. The losses before the first step are shared by all trials, and not counted.
It is no measured time: answers come token by token and keep a GPU less busy than their share says,
and what the reward model scores them by is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from orchestrator.config import TrialConfig
from orchestrator.config.evaluation import Evaluation, scheduled_steps
from orchestrator.core.statistics.sampled import sample_size
from orchestrator.storage.artifacts import Artifact

FORWARD = 2  # operations a weight and token


@dataclass(frozen=True)
class SetSize:
    """Items, tasks and tokens of a test set; tokens are the most there can be until it is read."""

    items: int
    tasks: int
    tokens: int


def set_sizes(dataset: Artifact, table: Artifact | None, max_length: int) -> list[SetSize]:
    """The sizes of a data set's test sets.

    Args:
        table: its tokens; None where they are not made yet.
        max_length: tokens of an item at most.
    """
    splits = dataset.info["splits"]
    ends = np.cumsum([split["instances"] for split in splits.values()])
    tokens = np.diff(ends * max_length, prepend=0)
    if table is not None:
        starts = np.load(table.path / "starts.npy", mmap_mode="r", allow_pickle=False)
        tokens = np.diff(starts[ends], prepend=0)
    return [
        SetSize(split["instances"], split["tasks"], int(count))
        for (name, split), count in zip(splits.items(), tokens, strict=True)
        if name != "pool"
    ]


def measured_items(evaluation: Evaluation, sets: list[SetSize], step: int, last: int) -> int:
    """Items whose losses are measured after a step; `last` is the trial's last."""
    return sum(_measured(evaluation, part, step, last) for part in sets)


def answered_items(evaluation: Evaluation, sets: list[SetSize], steps: int) -> int:
    """Items that a trial of so many steps answers, over all the times it does."""
    generate = evaluation.generate
    if generate.every is None:
        return 0
    times = len(scheduled_steps(generate.every, steps))
    return times * sum(min(generate.max_items or part.items, part.items) for part in sets)


def evaluation_share(config: TrialConfig, sets: list[SetSize], steps: int, trained: int) -> float:
    """The part of a trial's operations that is not training, in [0, 1].

    Args:
        steps: optimizer steps of the trial, one or more.
        trained: tokens of the rows that are trained on, one or more.
    """
    evaluation, generate = config.evaluation, config.evaluation.generate
    tokens = sum(
        part.tokens * _measured(evaluation, part, step, steps) / part.items
        for part in sets
        for step in scheduled_steps(evaluation.every, steps)[1:]
    )
    tokens += sum(
        answered_items(evaluation, [part], steps)
        * (part.tokens / part.items + generate.max_new_tokens)
        for part in sets
    )
    cost = token_cost(config) + (FORWARD if config.model.gradient_checkpointing else 0)
    return FORWARD * tokens / (FORWARD * tokens + cost * trained)


def token_cost(config: TrialConfig) -> int:
    """Operations a weight that training on a token needs; recomputed ones are not needed."""
    return 3 * FORWARD - (FORWARD if config.model.adapter != "none" else 0)


def _measured(evaluation: Evaluation, part: SetSize, step: int, last: int) -> int:
    if evaluation.sample is None or evaluation.measures_whole(step, last):
        return part.items
    return sample_size(part.items, part.tasks, evaluation.sample)
