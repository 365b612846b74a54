"""Ranked lists by the plain procedure, and pools in which many units tie."""

import numpy as np


def unit_rows(seed, rows, distinct, dimensions=8):
    """Unit vectors of which many are exact duplicates."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(distinct, dimensions))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)[rng.integers(0, distinct, rows)]


def plain_lists(queries, pool, end="near"):
    """All distances in float64, each pair summed on its own; ties to the lowest unit."""
    cosine = (queries.astype(np.float64)[:, None] * pool.astype(np.float64)[None]).sum(axis=2)
    distances = cosine if end == "far" else -cosine
    units = np.argsort(distances, axis=1, kind="stable")
    return units, np.take_along_axis(distances, units, axis=1)
