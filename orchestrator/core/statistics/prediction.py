"""Does similarity predict loss? A rank correlation and a monotone fit, tested on what it never saw.

Claim 8 of arXiv 2406.11721, which the authors left open: how the distance of the data seen so far
to a test task relates to the task's loss, and whether it foretells generalisation. What is foretold
is the drop of the loss since step 0, starting from a naive guess without any distance, the mean of
the others at the same step,

    prediction = mean drop of the others + f(distance - mean distance of the others),

where the others are, for a task that is left out, the other tasks in the same arm, and for an arm,
the other arms on the same task. f never grows (nearer than the others: dropped no less), and is
otherwise free: isotonic regression,

    min over f of sum_i (y_i - f(x_i))^2,   f non-increasing,

on x and y of what is kept, each set against the others among them. So the naive guess and the
prediction know the same task, arm and step, and differ by the distance alone.

Not a proof of a cause: distance and loss both fall as training goes on, so that pairs pooled over
steps relate even where nothing does. That is why deviations and ranks are taken within a step.

Shapes: A arms, S steps (step 0 left out), T tasks. Losses in nats, smaller distances are nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from orchestrator.core.statistics.analysis import Floats
from orchestrator.core.statistics.comparison import Comparison, compare_arms

FOLDS = 5  # of tasks
# One is left out, and each of the kept is set against another.
FEWEST = 3


@dataclass(frozen=True, slots=True)
class MonotoneFit:
    """A non-increasing step function by its knots (N,), distances ascending."""

    distances: Floats
    drops: Floats

    def predict(self, distances: Floats) -> Floats:
        """Drops at distances of any shape: straight between knots, constant outside of them."""
        return np.asarray(np.interp(distances, self.distances, self.drops))


@dataclass(frozen=True, slots=True)
class Forecast:
    """How well distance predicts, against a guess without it.

    Attributes:
        error, naive_error: mean absolute errors in nats, over steps and tasks.
        comparison: of the two over tasks; "ahead" where distance predicts better.
    """

    error: float
    naive_error: float
    comparison: Comparison


def rank_correlation(distances: Floats, drops: Floats) -> float:
    """Spearman's rank correlation over tasks between distance and drop of the loss, all steps.

    Negative: nearer tasks dropped more. Ranks are taken within a step and their pairs pooled over
    steps, so that the course of training cannot make a correlation; of a single step it is
    Spearman's rho.

    Args:
        distances, drops: (S, T).

    Returns:
        rho; NaN where either is the same for every task or has a NaN.

    Raises:
        ValueError: the shapes differ.
    """
    if distances.shape != drops.shape or distances.ndim != 2:
        raise ValueError(f"distances {distances.shape} and drops {drops.shape}: give (S, T) both")
    near, fell = (rankdata(part, axis=1) for part in (distances, drops))
    near, fell = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (near, fell))
    scale = np.sqrt((near**2).sum() * (fell**2).sum())
    return float((near * fell).sum() / scale) if scale != 0 else float("nan")


def fit_monotone(distances: Floats, drops: Floats) -> MonotoneFit:
    """Isotonic regression of drop on distance, non-increasing; equal distances are one knot.

    Args:
        distances, drops: of one shape, whatever it is.

    Raises:
        ValueError: no pair, or a NaN among them.
    """
    if distances.size == 0 or distances.shape != drops.shape or np.isnan(distances + drops).any():
        raise ValueError(
            f"distances {distances.shape} and drops {drops.shape}: give the same shape, no NaN"
        )
    knots, inverse = np.unique(distances, return_inverse=True)
    counts = np.bincount(inverse.ravel())
    means = np.bincount(inverse.ravel(), weights=drops.ravel()) / counts
    fitted = isotonic_regression(means, weights=counts, increasing=False)
    return MonotoneFit(knots, fitted.x)


def from_others(values: Floats, axis: int) -> Floats:
    """Each of n values along an axis minus the mean of the n - 1 others."""
    count = values.shape[axis]
    return np.asarray((values - values.mean(axis=axis, keepdims=True)) * count / (count - 1))


def predict_tasks(distances: Floats, drops: Floats, *, seed: int = 0) -> Forecast:
    """Predict the drops of tasks left out, from their distances and the other tasks.

    Tasks are dealt at random into `FOLDS` folds, each left out once with all its arms and steps.

    Args:
        distances, drops: (A, S, T), three tasks or more.
        seed: of the folds.

    Raises:
        ValueError: too few tasks, the shapes differ, or there is a NaN.
    """
    _check(distances, drops, -1, "tasks")
    count = drops.shape[-1]
    predicted, naive = np.empty_like(drops), np.empty_like(drops)
    dealt = np.random.default_rng(seed).permutation(count)
    for fold in np.array_split(dealt, min(FOLDS, count)):
        kept = np.setdiff1d(dealt, fold)
        parts = distances[..., fold], distances[..., kept], drops[..., kept]
        predicted[..., fold], naive[..., fold] = _predict(*parts, axis=-1)
    return _forecast(predicted, naive, drops)


def predict_arm(distances: Floats, drops: Floats, arm: int) -> tuple[Floats, Forecast]:
    """Predict the drops of an arm as if it had not been trained, from the other arms.

    Args:
        distances, drops: (A, S, T), three arms or more.
        arm: index of the arm that is left out.

    Returns:
        The predicted drops (S, T), and how good they are.

    Raises:
        ValueError: too few arms, the shapes differ, or there is a NaN.
    """
    _check(distances, drops, 0, "arms")
    others = np.delete(np.arange(len(drops)), arm)
    predicted, naive = _predict(distances[[arm]], distances[others], drops[others], axis=0)
    return predicted[0], _forecast(predicted, naive, drops[[arm]])


def _check(distances: Floats, drops: Floats, axis: int, what: str) -> None:
    if distances.shape != drops.shape or drops.ndim != 3 or drops.shape[axis] < FEWEST:
        raise ValueError(
            f"distances {distances.shape} and drops {drops.shape}: give (A, S, T) both, of "
            f"{FEWEST} {what} or more"
        )


def _predict(near: Floats, distances: Floats, drops: Floats, *, axis: int) -> tuple[Floats, Floats]:
    """Predicted drops at distances `near`, and the naive guess, from others along an axis."""
    fit = fit_monotone(from_others(distances, axis), from_others(drops, axis))
    naive = drops.mean(axis=axis, keepdims=True)
    change = fit.predict(near - distances.mean(axis=axis, keepdims=True))
    return naive + change, np.broadcast_to(naive, change.shape)


def _forecast(predicted: Floats, naive: Floats, actual: Floats) -> Forecast:
    """Errors of both (A, S, T) over arms and steps, compared over tasks."""
    errors, naive_errors = (
        np.abs(guess - actual).mean(axis=(0, 1))[None, None] for guess in (predicted, naive)
    )
    _, comparison = compare_arms(np.array([0]), errors, naive_errors)
    return Forecast(float(errors.mean()), float(naive_errors.mean()), comparison)
