"""The nine similarity measures between training rows and queries (arXiv 2406.11721).

Between the first n rows of a plan and a test task, or the whole query set: {negative cosine,
Euclidean distance} x {avg, min, max over all pairs, centroid (between the two mean vectors)},
and the bigram Kullback-Leibler divergence (`core.bigrams`). Smaller is nearer throughout.

`measure_curves` tells how near a plan has come, point by point; `unit_measures` gives each unit
its own value, to sort by. For the nearest units of each query use `core.ranking`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.bigrams import Bigrams, kl_curves
from orchestrator.core.ranking import Floats

MEASURES = (
    "cosine_avg",
    "cosine_min",
    "cosine_max",
    "cosine_centroid",
    "euclidean_avg",
    "euclidean_min",
    "euclidean_max",
    "euclidean_centroid",
    "bigram_kl",
)

BLOCK_BYTES = 32 * 2**20  # of distances that are held at once
# Largest error of a squared Euclidean distance of unit vectors, with room: 1e-7 apart is equal.
ROUNDING = 1e-14


SPACES = ("cosine", "euclidean")


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """(len(a), len(b)) distances in both spaces, from one product."""
    products = a @ b.T
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * products
    # Rounding must not part equal vectors, nor make a difference between two such pairs.
    return {"cosine": -products, "euclidean": np.sqrt(np.where(squares < ROUNDING, 0, squares))}


STATISTICS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "avg": np.mean,
    "min": np.min,
    "max": np.max,
}


def unit_measures(vectors: Floats, queries: Floats, names: Sequence[str]) -> NDArray[np.float64]:
    """Measures of each unit by itself against the whole query set.

    Args:
        vectors: (units, d) unit vectors, perhaps memory-mapped; read block by block.
        queries: (queries, d) unit vectors.
        names: of `MEASURES`, without bigram_kl.

    Returns:
        (units, names) float64; equal vectors have exactly equal values.
    """
    targets = np.asarray(queries, np.float64)
    middle = targets.mean(axis=0, keepdims=True)
    split = [name.split("_") for name in names]
    result = np.empty((len(vectors), len(names)))
    for block in _blocks(0, len(vectors), len(targets) + vectors.shape[1]):
        part = np.asarray(vectors[block], np.float64)
        pairs = _distances(part, targets)
        for column, (space, statistic) in enumerate(split):
            if statistic == "centroid":
                end = _unit(middle) if space == "cosine" else middle
                result[block, column] = _distances(part, end)[space][:, 0]
            else:
                result[block, column] = STATISTICS[statistic](pairs[space], axis=1)
    return result[_first_of_equals(vectors)]


def nearest_queries(vectors: Floats, queries: Floats) -> NDArray[np.int64]:
    """Returns the number of the query that is nearest to each vector, (n,) int64.

    Args:
        vectors: (n, d) unit vectors; looked at block by block.
        queries: (queries, d) unit vectors.
    """
    targets, nearest = np.asarray(queries, np.float64), np.empty(len(vectors), np.int64)
    for block in _blocks(0, len(vectors), len(targets) + vectors.shape[1]):
        nearest[block] = np.argmax(np.asarray(vectors[block], np.float64) @ targets.T, axis=1)
    return nearest


def measure_curves(
    vectors: Floats,
    queries: Floats,
    groups: NDArray[np.int64],
    points: NDArray[np.int64],
    bigrams: tuple[Bigrams, Bigrams] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """All measures of the first n rows of a plan, at each point, in one pass over the plan.

    Args:
        vectors: (n, d) unit vectors of the plan's rows, in the order of the plan; or with `rows` of
            a whole pool, perhaps memory-mapped.
        queries: (queries, d) unit vectors.
        groups: (queries,) int64, the test task of each query; every number from 0 to G - 1.
        points: (p,) int64, row counts from 1 to n, not falling.
        bigrams: of the plan's rows in the order of the plan, and of the queries.
        rows: (n,) int64, the plan's rows in `vectors`, which are read some at a time.

    Returns:
        (p, 1 + G, 9) float64: the whole query set, then each group; measures in the order of
        `MEASURES`. bigram_kl is NaN without bigrams.

    Raises:
        ValueError: points or groups are not as described.
    """
    _check(points, groups, len(vectors if rows is None else rows), len(queries))
    # Queries group by group, so that a group is a stretch of columns.
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    targets = np.asarray(queries, np.float64)[np.argsort(groups, kind="stable")]
    middles = _whole_and_groups(np.add, targets, starts) / _with_whole(sizes)[:, None]
    # What grows with the rows seen: a sum, a least and a largest distance for each query.
    total = np.zeros((len(SPACES), len(targets)))
    low, high = np.full_like(total, np.inf), np.full_like(total, -np.inf)
    vector_sum = np.zeros(vectors.shape[1])
    result = np.full((len(points), 1 + len(sizes), len(MEASURES)), np.nan)
    for at, (start, end) in enumerate(pairwise([0, *points.tolist()])):
        for block in _blocks(start, end, len(targets) + vectors.shape[1]):
            part = np.asarray(vectors[block if rows is None else rows[block]], np.float64)
            vector_sum += part.sum(axis=0)
            for space, pairs in enumerate(_distances(part, targets).values()):
                total[space] += pairs.sum(axis=0)
                low[space] = np.minimum(low[space], pairs.min(axis=0))
                high[space] = np.maximum(high[space], pairs.max(axis=0))
        # At a point: these of the whole set and of each group, and the distances of centroids.
        averages = _whole_and_groups(np.add, total.T, starts) / (end * _with_whole(sizes)[:, None])
        lowest = _whole_and_groups(np.minimum, low.T, starts)
        highest = _whole_and_groups(np.maximum, high.T, starts)
        centroids = _centroid_distances(vector_sum / end, middles)
        columns = np.stack([averages, lowest, highest, centroids], axis=2)
        # (group, space, statistic) to (group, measure)
        result[at, :, :-1] = columns.reshape(1 + len(sizes), -1)
    if bigrams is not None:
        result[:, :, -1] = kl_curves(*bigrams, groups, points)
    return result


def _check(points: NDArray[np.int64], groups: NDArray[np.int64], rows: int, queries: int) -> None:
    if len(points) and (points[0] < 1 or points[-1] > rows or np.any(np.diff(points) < 0)):
        raise ValueError(f"points must not fall, from 1 to the plan's {rows} rows: {points}")
    if len(groups) != queries or not len(groups) or groups.min() < 0:
        raise ValueError(f"{queries} queries (one at least) need as many groups, 0 or more each")
    if np.any(np.bincount(groups) == 0):
        raise ValueError("groups must be numbered without a gap, 0 to G - 1")


def _centroid_distances(
    middle: NDArray[np.float64], middles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(1 + G, spaces): from the plan's mean vector to those of the query set and its groups."""
    cosine = -(_unit(middles) @ _unit(middle[None]).T)[:, 0]
    return np.stack([cosine, np.linalg.norm(middles - middle, axis=1)], axis=1)


def _whole_and_groups(
    ufunc: np.ufunc, values: NDArray[np.float64], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Reduce the queries (first axis, sorted by group): all of them, then each group."""
    return np.concatenate([ufunc.reduce(values, axis=0)[None], ufunc.reduceat(values, starts)])


def _with_whole(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[sizes.sum()], sizes])


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = vectors / np.maximum(norms, np.finfo(np.float64).tiny)
    return scaled


def _blocks(start: int, end: int, width: int) -> Iterator[slice]:
    """Slices of start to end whose rows, `width` float64 numbers each, fit BLOCK_BYTES."""
    step = max(1, BLOCK_BYTES // (8 * width))
    for first in range(start, end, step):
        yield slice(first, min(first + step, end))


def _first_of_equals(vectors: Floats) -> NDArray[np.int64]:
    """For each row the first row that equals it.

    A matrix product may round equal rows differently, by their place in a block; a tie between
    exact duplicates would then be broken by rounding. Rows are found by a 64-bit hash and
    compared in full where it repeats.

    Returns:
        (rows,) int64.
    """
    rows = np.arange(len(vectors))
    numbers = vectors.shape[1] * vectors.dtype.itemsize // 4
    odd = np.random.default_rng(0).integers(2**63, size=numbers, dtype=np.uint64) * 2 + 1
    keys = np.empty(len(vectors), np.uint64)
    for block in _blocks(0, len(vectors), numbers):
        part = np.ascontiguousarray(vectors[block] + 0)  # -0.0 equals 0.0 and has other bits
        keys[block] = (part.view(np.uint32) * odd).sum(axis=1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    origin = first[inverse]
    repeats = np.flatnonzero(origin != rows)
    for block in _blocks(0, len(repeats), numbers):
        row = repeats[block]
        equal = (vectors[row] == vectors[origin[row]]).all(axis=1)
        origin[row] = np.where(equal, origin[row], row)
    return origin
