"""How sure a forecast of arms is of each pair and each loss, and how far off it was.

A forecaster expects a loss of each arm at the end of training. Arm a is ahead of arm b with the
probability

    P(a ahead of b) = Phi(-gap / sqrt(spread^2 + error^2)),

where the gap is the expected loss of a minus that of b, the spread the standard error of its mean
over tasks, and the error the forecaster's own, as far as earlier studies show it: so large that a
gap of the study's usual size G (root mean square over pairs with a gap) would be ranked right as
often as the forecaster ranked pairs right before,

    error = G / Phi^-1(q),   q = (right + 2) / (pairs + 3).

The 2 in 3 are a wide prior: a forecaster without any record is right in two of three usual pairs.
q is at least 0.51: no record turns a forecast round. Sizes cancel, so that a forecaster whose gaps
are of another scale than the losses is as sure as any other.

The 95% interval of an expected loss is that loss plus and minus 1.96 r c, where c is the largest
change since step 0 that the arm's curve was expected to make so far, and r the forecaster's
relative error: the root mean square of its relative errors in earlier studies and of a prior, 0.5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from orchestrator.core.statistics.analysis import Floats

PRIOR_ERROR = 0.5
ROUNDING = 1e-9  # nats; losses that are equal but for rounding have no gap
WIDTH = float(norm.ppf(0.975))


def pair_probabilities(gaps: Floats, spreads: Floats, share: float) -> Floats:
    """The probability that the first arm of each pair ends ahead of the second.

    Args:
        gaps: (P,), the expected loss of the first minus that of the second.
        spreads: (P,), the standard error of each gap over tasks.
        share: of usual pairs that the forecaster ranks right, above 0.5 and below 1.

    Returns:
        (P,); one half where there is no gap.

    Raises:
        ValueError: a share outside (0.5, 1).
    """
    if not 0.5 < share < 1:
        raise ValueError(f"share must be in (0.5, 1), got {share}")
    probabilities = np.full(len(gaps), 0.5)
    apart = np.abs(gaps) > ROUNDING
    if apart.any():
        error = np.sqrt(np.mean(np.square(gaps[apart]))) / norm.ppf(share)
        probabilities[apart] = norm.cdf(-gaps[apart] / np.hypot(spreads[apart], error))
    return probabilities


def standard_error(gaps: Floats) -> float:
    """Of the mean of a gap over T tasks (T,); 0 of a single one, which says nothing of others."""
    return float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0


def half_width(curve: Floats, relative_error: float) -> Floats:
    """Half of the 95% interval of an expected curve (S,), whose first loss is that at step 0."""
    return np.asarray(WIDTH * relative_error * np.maximum.accumulate(np.abs(curve - curve[0])))


def brier(probabilities: Floats, ahead: Floats) -> float | None:
    """Brier 1950: the mean of (probability - 1 where the first arm came out ahead, else 0)^2.

    Args:
        probabilities, ahead: (P,).
    """
    return float(np.mean(np.square(probabilities - ahead))) if len(ahead) else None


class CurveErrors(NamedTuple):
    """Errors of expected curves, as the fields of a `Score` of these names."""

    error: float
    gap_error: float
    naive_error: float
    relative_error: float


def curve_errors(expected: Floats, measured: Floats) -> CurveErrors:
    """How far expected losses were off.

    Args:
        expected, measured: (A, S) losses of A arms, at step 0 first.

    Raises:
        ValueError: the shapes differ, or there is no step behind the first.
    """
    if expected.shape != measured.shape or expected.ndim != 2 or expected.shape[1] < 2:
        raise ValueError(
            f"expected {expected.shape} and measured {measured.shape}: give (arms, steps) both, "
            "of 2 steps or more"
        )
    off = (expected - measured)[:, 1:]
    apart, gaps = ((losses - losses.mean(axis=0))[:, 1:] for losses in (expected, measured))
    change = np.sqrt(np.mean(np.square(expected[:, 1:] - expected[:, :1])))
    relative = np.sqrt(np.mean(np.square(off))) / change if change > 0 else PRIOR_ERROR
    return CurveErrors(
        error=float(np.abs(off).mean()),
        gap_error=float(np.abs(apart - gaps).mean()),
        naive_error=float(np.abs(gaps).mean()),
        relative_error=float(relative),
    )
