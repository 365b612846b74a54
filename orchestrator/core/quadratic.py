"""What training on an order of rows would do to test losses, by a quadratic model of the loss.

Around the weights at the start, with x what training has added to them, every row's loss is read as
a slope of its own on one common bowl,

    loss_q(x) = loss_q + g_q · x + x'H x / 2,    H = mean over the pool of g_i g_i'

(the empirical Fisher matrix for the curvature, of the rows that have an answer), g being gradients
at the start. With Adam's second moments v held fixed, so that D = 1 / (sqrt(v) + eps) is a fixed
diagonal, one optimizer step is

    x <- x - lr D (mean over the batch of g_i + H x)

Put e = D^(-1/2) x and phi = D^(1/2) g. Then g · x = phi · e, and x'H x = e'F e with
F = D^(1/2) H D^(1/2) = phi'phi / n, and the step, multiplied by D^(-1/2), is

    e <- e - lr (mean over the batch of phi_i + F e),    loss_q = loss_q + phi_q · e + e'F e / 2

so that phi and the losses at the start are all that is needed. The order of rows enters through lr,
which changes from step to step, and through F, by which a later step weakens what an earlier one
did. In the basis in which F is diagonal a step costs as many multiplications as phi has numbers.

Adam steps by the running mean of its gradients: `Course.momentum` is its first beta, with the
correction for the zeros that the mean starts from; 0 is the step above.

Two constants, 1 where nothing is known, correct what is derived: a factor to all learning rates, as
D is known but roughly, and one to F. The empirical Fisher matrix is the curvature only where
the model fits. Where it is surprised by every row in the same way, as an untouched model is by the
form of answers, F is too stiff: the mean loss of the pool can fall by half a nat and no further,
since with m the mean of phi, F >= m m' and so m'F^-1 m / 2 <= 1/2. `fit_constants` finds both from
measured curves.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from orchestrator.core.order import rows_fed, step_count
from orchestrator.core.ranking import Floats

Doubles = NDArray[np.float64]
BLOCK_ROWS = 65_536  # of the pool, that are in float64 at once


@dataclass(frozen=True)
class Course:
    """How a plan is trained on, whichever rows it holds.

    Attributes:
        global_batch: rows of a step.
        rate: learning rate of a step, from 1, of so many: rate(step, steps).
        epochs: passes over the data that a plan holds.
        max_steps: after which training ends; None: at the end of the plan.
        momentum: share of the running mean of gradients that a step keeps.
        scale: multiplies all learning rates.
    """

    global_batch: int
    rate: Callable[[int, int], float]
    epochs: int = 1
    max_steps: int | None = None
    momentum: float = 0.0
    scale: float = 1.0

    def steps(self, rows: int) -> int:
        """Optimizer steps of a plan of so many rows, over all its passes."""
        return step_count(rows, self.global_batch, self.max_steps, self.epochs)

    def rates(self, rows: int) -> Doubles:
        """(steps,) learning rates of a plan of so many rows, scaled."""
        steps = self.steps(rows)
        return self.scale * np.array([self.rate(step, steps) for step in range(1, steps + 1)])


@dataclass(frozen=True)
class Influence:
    """What rows of a pool do to test rows, and how they are trained on.

    Attributes:
        pool: (rows, d), phi of each row of the pool.
        mass: (rows,) float64, what a row counts in the mean over its batch: its answer tokens, or
            1, as the loss of training is normalised; 0 of a row without an answer.
        tests: (tests, d), phi of each test row.
        losses: (tests,) float64, their losses at the start, in nats; NaN without an answer.
        course: of the training.
        curvature: multiplies F.
    """

    pool: Floats
    mass: Doubles
    tests: Floats
    losses: Doubles
    course: Course
    curvature: float = 1.0


class Quadratic:
    """The model of one pool, which follows any plan for it.

    Args:
        pool: (rows, d), phi of each row of the pool; is copied in float64.
        mass: (rows,), as of `Influence`.
        factor: multiplies F.

    Attributes:
        curvature: (k,) float64 positive eigenvalues of F, rising; k is d or less.
    """

    def __init__(self, pool: Floats, mass: Doubles, factor: float = 1.0) -> None:
        blocks = range(0, len(pool), BLOCK_ROWS)
        fisher = np.zeros((pool.shape[1], pool.shape[1]))
        answered = max(1, int((mass > 0).sum()))  # other rows are in no mean
        for start in blocks:
            block = pool[start : start + BLOCK_ROWS].astype(np.float64)
            fisher += factor * block.T @ block / answered
        values, vectors = np.linalg.eigh(fisher)
        # What no row of the pool has a part in, no step can change.
        kept = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
        self.curvature: Doubles = values[kept]
        self._basis = vectors[:, kept]
        self._mass = mass
        self._pool = np.concatenate([self.turned(pool[at : at + BLOCK_ROWS]) for at in blocks])

    def stiffened(self, factor: float) -> Quadratic:
        """The same model with its curvature multiplied, without a copy of the pool."""
        other = copy(self)
        other.curvature = factor * self.curvature
        return other

    def turned(self, phi: Floats) -> Doubles:
        """Vectors (n, d) in the basis of the curvature, (n, k) float64."""
        turned: Doubles = np.asarray(phi, np.float64) @ self._basis
        return turned

    def follow(self, rows: NDArray[np.int64], course: Course) -> Doubles:
        """Where training on a plan leads.

        Args:
            rows: (n,) of the pool in training order, over all passes.
            course: of the training.

        Returns:
            (steps + 1, k) float64, e after each step in the basis of the curvature, from the start.
        """
        steps = course.steps(len(rows))
        ends = rows_fed(np.arange(steps + 1), len(rows), course.global_batch, course.epochs)
        fed, step = rows[: ends[-1]], np.repeat(np.arange(steps), np.diff(ends))
        mass = self._mass[fed]
        whole = np.bincount(step, mass, steps)[step]
        weights = np.divide(mass, whole, out=np.zeros_like(mass), where=whole > 0)
        batches = csr_array((weights, fed, ends), shape=(steps, len(self._pool))) @ self._pool
        return _descend(batches, self.curvature, course.rates(len(rows)), course.momentum)

    def losses(self, places: Doubles, tests: Doubles, start: Doubles) -> Doubles:
        """Losses of test rows at places where training leads.

        Args:
            places: (s, k), rows of what `follow` returns.
            tests: (q, k), `turned` phi of the test rows.
            start: (q,) their losses at the start.

        Returns:
            (s, q) float64, in nats.
        """
        bowl: Doubles = (places**2 @ self.curvature) / 2
        return start + places @ tests.T + bowl[:, None]

    def settles(self, course: Course, rows: int) -> bool:
        """Whether steps at the highest rate of a plan of so many rows come to rest.

        Along an eigenvector of F with value c they do for rate c < 2 (1 + b) / (1 - b), with b the
        momentum; beyond, they swing ever wider.
        """
        most = course.rates(rows).max(initial=0) * self.curvature.max(initial=0)
        return bool(most * (1 - course.momentum) < 2 * (1 + course.momentum))


def _descend(batches: Doubles, curvature: Doubles, rates: Doubles, momentum: float) -> Doubles:
    places = np.zeros((len(batches) + 1, len(curvature)))
    mean = np.zeros(len(curvature))
    for step, (batch, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        mean = momentum * mean + (1 - momentum) * (batch + curvature * places[step - 1])
        places[step] = places[step - 1] - rate / (1 - momentum**step) * mean
    return places


def fit_constants(
    predict: Callable[[float, float], Doubles], measured: Doubles
) -> tuple[float, float]:
    """The scale and the curvature with which a prediction comes nearest to what was measured.

    Args:
        predict: gives losses, of the shape of `measured`, from the two factors.
        measured: losses of real training, in nats.

    Returns:
        Those of the least sum of squares, sought from 1/1000 to 10.
    """

    def squares(powers: Doubles) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            found = float(((predict(*np.exp(powers).tolist()) - measured) ** 2).sum())
        return found if np.isfinite(found) else np.finfo(np.float64).max

    # Where steps swing there are several hollows: the search begins in the deepest of a grid.
    powers = np.log(np.geomspace(1e-3, 10, 13))
    sought = [(powers[0], powers[-1])] * 2
    start = min((np.array(pair) for pair in product(powers, repeat=2)), key=squares)
    scale, curvature = np.exp(minimize(squares, start, method="Nelder-Mead", bounds=sought).x)
    return float(scale), float(curvature)
