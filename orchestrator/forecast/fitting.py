"""The two constants of the quadratic model, from what earlier training came to.

Each plan that was trained on is followed along the model (`core.quadratic`), and the constants are
those with which the mean losses of the query set come nearest to the measured ones by least
squares, over all trials. Other test sets are not fitted to, so that they may judge the fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.config import TrialConfig
from orchestrator.core.quadratic import Doubles, fit_constants
from orchestrator.forecast.forecaster import Artifacts
from orchestrator.forecast.quadratic import Known, Models
from orchestrator.stages.influence import course_of

Curve = Callable[[float, float], Doubles]


@dataclass(frozen=True)
class Trained:
    """A trial and the losses that it had.

    Attributes:
        config: of the trial.
        plan: (n,) int64 rows of the pool in training order, over all passes.
        steps: (S,) int64 at which the query set was measured.
        losses: (S,) float64 mean losses of the query set, in nats.
    """

    config: TrialConfig
    plan: NDArray[np.int64]
    steps: NDArray[np.int64]
    losses: Doubles


class Fit(NamedTuple):
    """What was found.

    Attributes:
        scale, curvature: as of `forecast.quadratic`.
        error: root mean square of foreseen minus measured losses, in nats.
        derived: the same with both constants at 1; infinite where steps swing ever wider.
    """

    scale: float
    curvature: float
    error: float
    derived: float


def fit(artifacts: Artifacts, trials: list[Trained]) -> Fit:
    """The constants that fit some trials best."""
    models = Models(artifacts)
    curves = [
        mean_curve(models.of(trial.config), trial, _queries(artifacts, trial)) for trial in trials
    ]
    measured = np.concatenate([trial.losses for trial in trials])

    def predict(scale: float, curvature: float) -> Doubles:
        return np.concatenate([curve(scale, curvature) for curve in curves])

    def error(scale: float, curvature: float) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(((predict(scale, curvature) - measured) ** 2).mean())
        return squares**0.5 if np.isfinite(squares) else np.inf

    found = fit_constants(predict, measured)
    return Fit(*found, error(*found), error(1.0, 1.0))


def mean_curve(known: Known, trial: Trained, rows: NDArray[np.int64]) -> Curve:
    """Foretells from scale and curvature the mean loss of some rows at the steps of a trial, (S,).

    Args:
        rows: (n,) int64 instances of a test set; those without an answer are in no mean.
    """
    answered = rows[~np.isnan(known.losses[rows])]
    tests = known.tests[answered].mean(axis=0)[None]
    start = known.losses[answered].mean()[None]
    course = course_of(trial.config)

    def curve(scale: float, curvature: float) -> Doubles:
        model = known.model.stiffened(curvature)
        places = model.follow(trial.plan, replace(course, scale=scale))[trial.steps]
        losses: Doubles = model.losses(places, tests, start)[:, 0]
        return losses

    return curve


def _queries(artifacts: Artifacts, trial: Trained) -> NDArray[np.int64]:
    """Rows of the query set, which come behind those of the pool."""
    splits = artifacts.dataset(trial.config).info["splits"]
    pool = splits["pool"]["instances"]
    return pool + np.arange(splits["query"]["instances"])
