"""What a loss curve says: curves per set and task, their area, and how early they fall.

A loss is the mean cross-entropy of one test instance's answer tokens, in nats; NaN stands for an
instance whose answer was cut away. Lower is better throughout. Two arms are compared in
`comparison`, sudden drops are found in `drops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]


class TaskCurves(NamedTuple):
    """Mean loss of each task at each evaluated step.

    Attributes:
        steps: (S,), ascending.
        tasks: T names, ascending.
        losses: (S, T); NaN where a task has no loss at a step.
    """

    steps: Steps
    tasks: list[str]
    losses: Floats


def set_curve(step: Steps, loss: Floats) -> tuple[Steps, Floats]:
    """Loss of a test set at each step: the mean over its instances, those without a loss left out.

    Args:
        step, loss: (N,), one entry for each instance and step.

    Returns:
        The steps at which there is any loss (S,), ascending, and the means (S,).
    """
    known = ~np.isnan(loss)
    steps, inverse = np.unique(step[known], return_inverse=True)
    return steps, np.bincount(inverse, weights=loss[known]) / np.bincount(inverse)


def task_curves(step: Steps, task: Sequence[str], loss: Floats) -> TaskCurves:
    """Mean loss of each task at each step, over its instances that have a loss there.

    Args:
        step, task, loss: (N,), one entry for each instance and step.
    """
    known = ~np.isnan(loss)
    steps, row = np.unique(step, return_inverse=True)
    tasks, column = np.unique(np.asarray(task, dtype=np.str_), return_inverse=True)
    shape = (len(steps), len(tasks))
    cell = np.ravel_multi_index((row, column), shape)[known] if len(step) else row
    size = shape[0] * shape[1]
    sums = np.bincount(cell, weights=loss[known], minlength=size).reshape(shape)
    counts = np.bincount(cell, minlength=size).reshape(shape)
    losses = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    return TaskCurves(steps, tasks.tolist(), losses)


def area_under_curve(steps: Steps, losses: Floats) -> Floats:
    """Area under a loss curve over optimizer steps, divided by the range of steps.

    The trapezoid rule; dividing makes it the average loss during training, comparable between
    trials that were evaluated at different steps.

    Args:
        steps: (S,), strictly ascending.
        losses: (S,) or (S, T), one curve a column.

    Returns:
        () or (T,), in units of loss. A single step is its own average.

    Raises:
        ValueError: no step, or steps that do not ascend.
    """
    _check_ascending(steps)
    if len(steps) == 1:
        return np.asarray(losses[0])
    return np.asarray(np.trapezoid(losses, x=steps, axis=0) / (steps[-1] - steps[0]))


def steps_to_fraction(steps: Steps, losses: Floats, fraction: float = 0.9) -> int | None:
    """First evaluated step at which a curve has made `fraction` of its total drop.

    The total drop is the loss at the first step (the untouched model) minus the lowest loss of
    the curve. Nothing is interpolated: the answer is a step that was measured, so it is late by
    at most the distance between two evaluations.

    Args:
        steps, losses: (S,), in ascending order of step.
        fraction: of the total drop, in (0, 1].

    Returns:
        The step, or None when the loss never fell below its first value.

    Raises:
        ValueError: `fraction` is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}")
    if len(steps) == 0 or not losses.min() < losses[0]:
        return None
    # Written as a distance from the lowest loss so that a fraction of 1 is met exactly.
    target = losses.min() + (1 - fraction) * (losses[0] - losses.min())
    return int(steps[np.argmax(losses <= target)])


def elbow(steps: Steps, losses: Floats) -> int | None:
    """Evaluated step at which a curve lies farthest below the chord between its ends.

    The knee of Satopaa et al. 2011 ("Finding a 'Kneedle' in a Haystack"), without its smoothing:
    a curve that falls early and then levels off has its elbow where further training stops paying.
    Beside `steps_to_fraction` it asks for no fraction, but it depends on where training ended; a
    curve that is still falling steadily has an elbow that says little.

    Args:
        steps, losses: (S,), in strictly ascending order of step.

    Returns:
        The step, the first of several; None where no loss lies below the chord.

    Raises:
        ValueError: no step, or steps that do not ascend.
    """
    _check_ascending(steps)
    chord = np.interp(steps, steps[[0, -1]], losses[[0, -1]])
    # The vertical distance is largest where the perpendicular one is: the chord has one slope.
    below = chord - losses
    # A straight line must not have an elbow by rounding.
    if below.max() <= 1e-12 * np.abs(losses).max():
        return None
    return int(steps[below.argmax()])


def worst_rise(steps: Steps, losses: Floats) -> tuple[int, float]:
    """Where a curve stands highest above its first loss: the harm training did to a set.

    Args:
        steps, losses: (S,), in ascending order of step, one or more.

    Returns:
        The step and the rise in nats; the first step and 0 where the loss never rose above it.
    """
    index = int(losses.argmax())
    return int(steps[index]), float(losses[index] - losses[0])


def _check_ascending(steps: Steps) -> None:
    if len(steps) == 0 or np.any(np.diff(steps) <= 0):
        raise ValueError(f"steps must be one or more and ascend, got {steps.tolist()}")
