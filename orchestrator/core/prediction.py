"""Does similarity predict loss? Rank correlations and a monotone fit, tested on what it never saw.

Claim 8 of arXiv 2406.11721, which the authors left open: how the distance of the data seen so far
to a test task relates to the task's loss, and whether it foretells generalisation. The relation is
isotonic regression: the drop of the loss since step 0 never grows with the distance,

    min over f of sum_i (drop_i - f(distance_i))^2,   f non-increasing,

which assumes no shape and no unit of distance. It is judged on left-out tasks and on a left-out arm
against the guess that ignores distance, because a fit always describes the data it was made from.

Not a proof of a cause: distance and loss both fall as training goes on, so that pairs pooled over
steps relate even where nothing does. That is why ranks are taken within a step, and why the guesses
to beat know the step.

Shapes: A arms, S steps (step 0 left out), T tasks. Losses in nats, smaller distances are nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from orchestrator.core.analysis import Floats
from orchestrator.core.comparison import Comparison, compare_arms

FOLDS = 5  # of tasks


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


def rank_correlations(distances: Floats, drops: Floats) -> tuple[Floats, float]:
    """Spearman's rank correlation over tasks between distance and drop of the loss.

    Negative: nearer tasks dropped more. Pooled, the pairs of all steps are correlated by their
    ranks within their own step, so that the course of training cannot make a correlation.

    Args:
        distances, drops: (S, T).

    Returns:
        rho of each step (S,), and pooled; NaN where either is the same for every task.

    Raises:
        ValueError: the shapes differ.
    """
    if distances.shape != drops.shape or distances.ndim != 2:
        raise ValueError(f"distances {distances.shape} and drops {drops.shape}: give (S, T) both")
    near, fell = (rankdata(part, axis=1) for part in (distances, drops))
    near, fell = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (near, fell))
    products, squares = (near * fell).sum(axis=1), ((near**2).sum(axis=1), (fell**2).sum(axis=1))
    scale = np.sqrt(squares[0] * squares[1])
    by_step = np.divide(products, scale, out=np.full(len(scale), np.nan), where=scale > 0)
    whole = np.sqrt(squares[0].sum() * squares[1].sum())
    return by_step, float(products.sum() / whole) if whole > 0 else float("nan")


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


def predict_tasks(distances: Floats, drops: Floats, *, seed: int = 0) -> Forecast:
    """Predict the drops of tasks left out, from their distances and the other tasks' fit.

    Tasks are dealt at random into `FOLDS` folds, each left out once with all its arms and steps.
    The naive guess is the mean drop of the other tasks in the same arm at the same step.

    Args:
        distances, drops: (A, S, T).
        seed: of the folds and the bootstrap.

    Raises:
        ValueError: fewer than two tasks, the shapes differ, or there is a NaN.
    """
    count = distances.shape[-1]
    if count < 2:
        raise ValueError(f"{count} tasks: leaving one out takes two or more")
    predicted, naive = np.empty_like(drops), np.empty_like(drops)
    dealt = np.random.default_rng(seed).permutation(count)
    for fold in np.array_split(dealt, min(FOLDS, count)):
        kept = np.setdiff1d(dealt, fold)
        fit = fit_monotone(distances[..., kept], drops[..., kept])
        predicted[..., fold] = fit.predict(distances[..., fold])
        naive[..., fold] = drops[..., kept].mean(axis=-1, keepdims=True)
    return _forecast(predicted, naive, drops, seed)


def predict_arm(
    distances: Floats, drops: Floats, arm: int, *, seed: int = 0
) -> tuple[Floats, Forecast]:
    """Predict the drops of an arm as if it had not been trained, from the other arms' fit.

    The naive guess is the mean of the other arms for the same task at the same step.

    Args:
        distances, drops: (A, S, T), two arms or more.
        arm: index of the arm that is left out.
        seed: of the bootstrap.

    Returns:
        The predicted drops (S, T), and how good they are.

    Raises:
        ValueError: fewer than two arms, the shapes differ, or there is a NaN.
    """
    if len(drops) < 2:
        raise ValueError(f"{len(drops)} arms: leaving one out takes two or more")
    others = np.delete(np.arange(len(drops)), arm)
    predicted = fit_monotone(distances[others], drops[others]).predict(distances[arm])
    naive = drops[others].mean(axis=0)
    return predicted, _forecast(predicted, naive, drops[arm], seed)


def _forecast(predicted: Floats, naive: Floats, actual: Floats, seed: int) -> Forecast:
    """Errors of both over all but the last axis, compared over tasks, the last one."""
    every = tuple(range(actual.ndim - 1))
    errors, naive_errors = (
        np.abs(guess - actual).mean(axis=every)[None, None] for guess in (predicted, naive)
    )
    _, comparison = compare_arms(np.array([0]), errors, naive_errors, seed=seed)
    return Forecast(float(errors.mean()), float(naive_errors.mean()), comparison)
