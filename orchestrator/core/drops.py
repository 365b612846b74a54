"""Sudden drops of a task's loss, and whether they come when a similar task's rows do.

Claim 2 of arXiv 2406.11721: trained in task blocks (`cluster`), a test task's loss drops suddenly
when a similar task arrives. A drop is sudden where the largest fall between two evaluations stands
out from the other changes of the same curve; rows are near where a measure such as the distance to
the nearest row fell most. Leave step 0 out: from the untouched model to the first evaluation every
task falls, because the model learns the format of an answer.

Not for curves of few evaluations (fewer than four have no drop by this rule), nor for steps that
are far apart: everything between two evaluations counts as one moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.core.analysis import Floats, Steps

# Times the median absolute change of the other intervals. Of normally distributed changes about
# one in 2,700 is a fall of that size (5 * 0.674 standard deviations), in short curves, whose median
# is noisy, more: one in twenty curves of 20 evaluations has one by chance.
STANDS_OUT = 5.0
FEWEST_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Fall:
    """A fall between two evaluated steps: from `before` to `step`, by `size` > 0."""

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


def sudden_drop(steps: Steps, losses: Floats) -> Fall | None:
    """The largest fall of a loss curve, if it stands out.

    It does where it is more than `STANDS_OUT` times the median absolute change of the other
    intervals, of which there are at least two.

    Args:
        steps, losses: (S,), in ascending order of step, without step 0.
    """
    fall = largest_fall(steps, losses)
    changes = np.abs(np.diff(losses))
    if fall is None or len(changes) < FEWEST_INTERVALS:
        return None
    others = np.delete(changes, np.searchsorted(steps, fall.before))
    return fall if fall.size > STANDS_OUT * np.median(others) else None


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
