"""Small pools with exact duplicates, and requests to arrange them."""

import numpy as np

from orchestrator.core.arrangements import Request
from orchestrator.core.ranking import merge
from orchestrator.core.units import groups, instances, unit_vectors
from orchestrator.stages.search import search


def unit_rows(rng, rows, dimensions=8):
    vectors = rng.normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def pool_with_duplicates(seed, rows, distinct):
    rng = np.random.default_rng(seed)
    return unit_rows(rng, distinct)[rng.integers(0, distinct, rows)]


def units_at(granularity, tasks):
    """The units of a pool whose rows have these tasks; clusters are other labels."""
    if granularity == "instance":
        return instances(len(tasks))
    if granularity == "task":
        return groups(tasks)
    return groups(np.random.default_rng(len(tasks)).integers(0, 7, len(tasks)))


def make_request(pool, queries, units=None, *, depth=16, shard_rows=10**6, **options):
    units = units or instances(len(pool))
    vectors = unit_vectors(pool, units)
    neighbours = {
        end: sharded_search(queries, vectors, depth, shard_rows=shard_rows, end=end)
        for end in ("near", "far")
    }
    options = {"groups": units, "vectors": vectors, "queries": queries} | options
    return Request(units=units, neighbours=neighbours, **options)


def sharded_search(queries, vectors, depth, *, shard_rows, end="near"):
    """Ranked lists, searched shard by shard and merged."""
    parts = [
        search(queries, vectors[start : start + shard_rows], depth, offset=start, end=end)
        for start in range(0, len(vectors), shard_rows)
    ]
    return merge(parts, depth)


def blocks_of(units):
    """The rows of each unit as lists."""
    return [units.rows[a:b].tolist() for a, b in zip(units.starts, units.starts[1:], strict=False)]
