"""Sudden drops of a task's loss, and whether they come when a similar task's rows do.

Claim 2 of arXiv 2406.11721: trained in task blocks (`cluster`), a test task's loss drops suddenly
when a similar task arrives. What all tasks do between two evaluations is no drop of one of them:
every loss falls fast at first and ever more slowly. So what counts is a task's change beyond the
median change of the others,

    excess[s, t] = change[s, t] - median over u != t of change[s, u],
    change[s, t] = loss[s + 1, t] - loss[s, t].

Tasks learn at different speeds, which leaves a smooth excess. A drop is sudden where the excess is
more than `STANDS_OUT` times what is usual for the task, both in all of training and in the nearest
intervals: the larger of the median |excess| of all intervals and of the two on either side. Rows
are near where a measure such as the distance to the nearest row fell most.

Leave step 0 out: from the untouched model to the first evaluation every task falls, because the
model learns the format of an answer. Not for steps that are far apart: everything between two
evaluations counts as one moment. Nor for a drop that most tasks share: it is what all tasks do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.statistics.analysis import Floats, Steps

# Of normally distributed excesses one in 40,000 is a fall of that size (6 * 0.674 standard
# deviations). Of simulated curves without a drop, smooth or noisy, at most 3 in 100 have one.
STANDS_OUT = 6.0
AROUND = 2  # intervals on either side
# With fewer a median says little of what is usual.
FEWEST_INTERVALS = 10
FEWEST_TASKS = 6
ROUNDING = 1e-9  # nats; curves that are equal but for rounding have no drop


@dataclass(frozen=True, slots=True)
class Fall:
    """A fall between two evaluated steps: from `before` to `step`, by `size` > 0.

    The size of a sudden drop is its excess: what the loss fell by beyond the other tasks'.
    """

    before: int
    step: int
    size: float


@dataclass(frozen=True, slots=True)
class Coincidence:
    """How many drops fell into the interval in which near rows came.

    Attributes:
        matched, drops: drops in the interval of their task's near rows, out of how many.
        by_chance: how many would match on average if each drop had the near rows of another of
            these tasks, drawn at random, instead of its own.
        p_value: share of such drawings that match at least as many (one-sided).
    """

    matched: int
    drops: int
    by_chance: float
    p_value: float


def largest_fall(steps: Steps, values: Floats) -> Fall | None:
    """The largest fall between two evaluations, the first of several.

    Args:
        steps, values: (S,), in ascending order of step.

    Returns:
        The fall; None where the values never fall.
    """
    changes = np.diff(values)
    if len(changes) == 0 or changes.min() >= 0:
        return None
    index = int(changes.argmin())
    return Fall(int(steps[index]), int(steps[index + 1]), float(-changes[index]))


def sudden_drops(steps: Steps, losses: Floats) -> list[Fall | None]:
    """The sudden drop of each task's loss curve, None where it has none.

    Of several intervals that stand out it is the one that does most.

    Args:
        steps: (S,), ascending, without step 0.
        losses: (S, T), NaN-free.

    Returns:
        T falls or Nones.

    Raises:
        ValueError: fewer than `FEWEST_INTERVALS` intervals or `FEWEST_TASKS` tasks.
    """
    changes = np.diff(losses, axis=0)
    intervals, tasks = changes.shape
    if intervals < FEWEST_INTERVALS or tasks < FEWEST_TASKS:
        raise ValueError(
            f"{intervals} intervals of {tasks} tasks: give losses of {FEWEST_INTERVALS + 1} steps "
            f"or more and {FEWEST_TASKS} tasks or more"
        )
    medians = [np.median(np.delete(changes, task, axis=1), axis=1) for task in range(tasks)]
    excess = changes - np.column_stack(medians)
    times = -excess / np.maximum(_usual(np.abs(excess)), ROUNDING)
    times[changes >= 0] = 0  # the others rose, the task did not fall
    return [
        Fall(int(steps[place]), int(steps[place + 1]), float(-excess[place, task]))
        if times[place, task] > STANDS_OUT
        else None
        for task, place in enumerate(times.argmax(axis=0))
    ]


def _usual(sizes: Floats) -> Floats:
    """For each interval and task what sizes (S - 1, T) are around it and in all of training."""
    padded = np.pad(sizes, ((AROUND, AROUND), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1, axis=0)
    around = np.nanmedian(np.delete(windows, AROUND, axis=-1), axis=-1)
    return np.asarray(np.maximum(np.median(sizes, axis=0), around))


def coincidence(
    drops: Sequence[int], nears: Sequence[int], *, seed: int = 0, permutations: int = 10_000
) -> Coincidence:
    """Count drops that end at the same step as the fall of their task's distance.

    Chance is what a random pairing of the same drops with the same near rows gives: it allows for
    steps at which many tasks drop, or many come near, whatever belongs together.

    Args:
        drops, nears: (N,), for each task with a drop the step at which it ended, and the step at
            which the fall of the distance ended.
        seed: of the permutations.

    Raises:
        ValueError: none, or not as many near rows as drops.
    """
    if len(drops) == 0 or len(drops) != len(nears):
        raise ValueError(f"{len(drops)} drops and {len(nears)} near rows: give one for each task")
    fell, near = np.asarray(drops), np.asarray(nears)
    matched = int((fell == near).sum())
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(near, (permutations, 1)), axis=1)
    by_luck = (shuffled == fell).sum(axis=1)
    # The pairing as it is counts as one of the drawings, so that p is never 0.
    p_value = (1 + (by_luck >= matched).sum()) / (1 + permutations)
    expected = (fell[:, None] == near[None, :]).mean(axis=1).sum()
    return Coincidence(matched, len(fell), float(expected), float(p_value))
