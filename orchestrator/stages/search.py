"""Exact nearest-neighbour search: FAISS proposes in float32, `core.ranking` proves.

Flat (exhaustive) search only: an arrangement claims to be exact. FAISS is given the pool in
blocks that stay where they are (memory-mapped, or in another process), and only ranked lists are
kept: memory is O(queries x depth + block).
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from orchestrator.core.ranking import Candidates, End, Floats, seen_from

# Rows that are looked at at once where some of them have to be copied.
BLOCK_ROWS = 65_536
GPU_DEPTH = 2048  # the longest lists that FAISS makes on a GPU


def search(
    queries: Floats, vectors: Floats, depth: int, *, offset: int = 0, end: End = "near"
) -> Candidates:
    """The nearest units of one shard for each query.

    Args:
        queries: (queries, d) float32 unit vectors.
        vectors: (units, d) float32 unit vectors, perhaps memory-mapped.
        depth: entries wanted of each list.
        offset: number of the shard's first unit.
        end: of the pool, from which the lists are ranked.
    """
    # What FAISS takes: whole arrays of float32, and the far end as the near end of -queries.
    wanted = np.ascontiguousarray(seen_from(end, queries), dtype=np.float32)
    shard = np.ascontiguousarray(vectors, dtype=np.float32)
    depth = min(depth, len(shard))
    # The largest inner products, which are the least distances.
    if _gpu() and depth <= GPU_DEPTH:
        products, units = faiss.knn_gpu(
            _gpu(), wanted, shard, depth, metric=faiss.METRIC_INNER_PRODUCT
        )
    else:
        products, units = faiss.knn(wanted, shard, depth, metric=faiss.METRIC_INNER_PRODUCT)
    distances = -products
    # Outside a list nothing is nearer than its last entry; outside a whole shard nothing is.
    complete = depth == len(shard)
    bound = np.full(len(wanted), np.inf, np.float32) if complete else distances[:, -1].copy()
    return Candidates(units.astype(np.int64) + offset, distances, bound)


def kmeans_labels(vectors: Floats, groups: int, seed: int) -> NDArray[np.int64]:
    """The k-means group of each row, by cosine.

    Args:
        vectors: (rows, d) float32 unit vectors, perhaps memory-mapped.
        groups: how many centres; at most as many as rows.
        seed: of the rows that are sampled (256 a group at most) and of the first centres.

    Returns:
        (rows,) int64 from 0 to `groups` - 1; a group may have no row.
    """
    sampled = min(len(vectors), 256 * groups)
    rows = np.random.default_rng(seed).choice(len(vectors), sampled, replace=False)
    means = faiss.Kmeans(
        vectors.shape[1], groups, niter=25, spherical=True, seed=seed, min_points_per_centroid=1
    )
    means.train(np.ascontiguousarray(vectors[np.sort(rows)], dtype=np.float32))
    assert means.centroids is not None, "trained above"
    return nearest_of(vectors, means.centroids)[0]


def nearest_of(vectors: Floats, targets: Floats) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The target of the largest cosine for each vector, block by block.

    Args:
        vectors: (rows, d) float32 unit vectors, perhaps memory-mapped.
        targets: (targets, d) float32 unit vectors.

    Returns:
        (rows,) int64 targets and (rows,) float32 cosines.
    """
    nearest = np.empty(len(vectors), np.int64)
    cosine = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        lists = search(vectors[block], targets, 1)
        nearest[block], cosine[block] = lists.units[:, 0], -lists.distances[:, 0]
    return nearest, cosine


@cache
def _gpu() -> Any:
    """FAISS's memory on a GPU; None where this process was given none.

    Outside Ray all GPUs are the user's. Inside, what is not reserved is another one's, and tasks
    that search reserve none: 1.3 million rows take a host seconds.
    """
    if not faiss.get_num_gpus():
        return None
    ray = sys.modules.get("ray")  # a process of Ray's has imported it; elsewhere it is not needed
    given = ray is None or not ray.is_initialized() or ray.get_gpu_ids()
    return faiss.StandardGpuResources() if given else None
