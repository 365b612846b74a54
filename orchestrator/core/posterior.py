"""What is left to learn of unit vectors after some of them: a kernel, deflated pick by pick.

A Gaussian process with the kernel k(a, b) = a'b, which has seen the vectors of a set S with noise
1/rho, has the posterior kernel a'b - a'V'(VV' + I/rho)^-1 Vb, where V holds these vectors as rows.
By Woodbury's identity that is

    k_S(a, b) = a'A b,    A = (I + rho V'V)^-1

One more vector x lowers the variance of a query q by rho k_S(q, x)^2 / (1 + rho k_S(x, x)). The
signed root of that, up to the factor of rho, is what a unit is worth to a query:

    k_S(q, x) / sqrt(1 + rho k_S(x, x))

It is signed, because a vector opposite to q would tell as much of it and is not near. By Sherman
and Morrison's formula seeing v takes uu' from A, where u = A v sqrt(rho / (1 + rho v'A v)). As rho
tends to 0 the worth tends to the cosine. (SIFT, arXiv 2410.08020.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Floats

# Picks after which A itself is brought up to date: one product of matrices instead of many passes.
BLOCK = 32
# Worths that differ by less are equal: the same pick on any machine.
RELATIVE, ABSOLUTE = 1e-9, 1e-12


class Posterior:
    """The kernel k_S over units, where S grows. All sums are of float64.

    A pick costs O(d^2 + C d) for C units that are looked at, and for those that may be worth most
    O(d) more for each pick since it was last looked whether they are.

    Args:
        vectors: (units, d) float32 vectors, perhaps memory-mapped.
        rho: one over the noise, above 0: how much a unit says of those that are like it.
    """

    def __init__(self, vectors: Floats, rho: float) -> None:
        dimensions = vectors.shape[1]
        self._vectors = vectors
        self._rho = rho
        self._seen = 0
        self._matrix = np.eye(dimensions)  # A, of the first `_settled` units seen
        self._settled = 0
        # The u of the last units seen, in a ring: to go through more of them costs as much as A.
        self._drops = np.empty((-(-dimensions // BLOCK) * BLOCK, dimensions))
        self._variance = np.empty(len(vectors))  # k_S(x, x), of the first `_known` units seen
        self._known = np.full(len(vectors), -1)

    def best(self, query: NDArray[np.float64], units: NDArray[np.int64]) -> int:
        """Place of the unit that is worth most to a query; of several that of the lowest number.

        Args:
            query: (d,) float64.
            units: (n,) int64, distinct, one or more.
        """
        vectors = self._vectors[units].astype(np.float64)
        product = self._times(query)
        shared = vectors @ product
        # k_S(x, x) is at most what it was, and at least what Cauchy and Schwarz say.
        new = self._known[units] < 0
        self._variance[units[new]] = (vectors[new] ** 2).sum(axis=1)
        self._known[units[new]] = 0
        own = max(float(query @ product), np.finfo(np.float64).tiny)
        bounds = self._worth(shared, np.stack([self._variance[units], shared**2 / own]))
        places = np.flatnonzero(bounds.max(axis=0) >= _just_below(bounds.min(axis=0).max()))
        worth = self._worth(shared[places], self._variances(units[places], vectors[places]))
        places = places[worth >= _just_below(worth.max())]
        return int(places[units[places].argmin()])

    def see(self, unit: int) -> None:
        """Deflate the kernel by a unit."""
        vector = self._vectors[unit].astype(np.float64)
        product = self._times(vector)
        variance = max(0.0, float(vector @ product))
        drop = product * np.sqrt(self._rho / (1 + self._rho * variance))
        self._drops[self._seen % len(self._drops)] = drop
        self._seen += 1
        if self._seen - self._settled == BLOCK:
            block = self._since(self._settled)
            self._matrix -= block.T @ block
            self._settled = self._seen

    def _worth(
        self, shared: NDArray[np.float64], variance: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What units are worth, by their k_S(q, x) and k_S(x, x)."""
        worth: NDArray[np.float64] = shared / np.sqrt(1 + self._rho * variance)
        return worth

    def _times(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """A times a vector, (d,)."""
        block = self._since(self._settled)
        product: NDArray[np.float64] = self._matrix @ vector - (block @ vector) @ block
        return product

    def _since(self, first: int) -> NDArray[np.float64]:
        """(n, d): the u of the units seen after the first so many."""
        return self._drops[np.arange(first, self._seen) % len(self._drops)]

    def _variances(
        self, units: NDArray[np.int64], vectors: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """k_S(x, x) of units, (n,): as it was known, less what was seen since."""
        known = self._known[units]
        anew = known < self._seen - len(self._drops)
        if anew.any():
            part = vectors[anew]
            self._variance[units[anew]] = ((part @ self._matrix) * part).sum(axis=1)
            known[anew] = self._settled
        first = int(known.min())
        drops = (vectors @ self._since(first).T) ** 2
        drops[np.arange(first, self._seen) < known[:, None]] = 0
        self._variance[units] = np.maximum(0, self._variance[units] - drops.sum(axis=1))
        self._known[units] = self._seen
        return self._variance[units]


def _just_below(worth: float) -> float:
    """What differs from it by no more than the order in which it was summed."""
    return worth - RELATIVE * abs(worth) - ABSOLUTE
