"""The pool of a data set as arrays, at a granularity."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.arrangement import Clusters
from orchestrator.core.ranking import Floats
from orchestrator.core.units import New, Units, groups, instances, unit_vectors, units_digest
from orchestrator.screen import Line
from orchestrator.stages.mapped import load_array, scratch_array
from orchestrator.stages.search import kmeans_labels
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.disk import writing
from orchestrator.storage.files import INSTANCES_FILE

GROUPS_VERSION = 1

Granularity = str | Clusters


@dataclass(frozen=True)
class Pool:
    """What an arrangement moves, and what it looks at.

    Attributes:
        units: the partition that is moved.
        groups: tasks, or k-means groups where those are the units.
        vectors: (units, d) float32 unit vectors; None without embeddings.
        queries: (queries, d) float32 unit vectors; None without embeddings.
    """

    units: Units
    groups: Units
    vectors: Floats | None = None
    queries: Floats | None = None

    @cached_property
    def partition(self) -> str:
        """Digest of the units: what they hold, not how many they are."""
        return units_digest(self.units)


def make_pool(
    granularity: Granularity,
    tasks: NDArray[np.integer[Any]],
    grouping: NDArray[np.int64] | None,
    vectors: Floats | None,
    queries: Floats | None,
    new: New = np.empty,
) -> Pool:
    """The pool at a granularity.

    Args:
        tasks: (rows,) integer labels.
        grouping: (rows,) int64 labels of k-means groups; needed where they are the granularity.
        vectors: (rows, d) float32 unit vectors, perhaps memory-mapped, or None.
        queries: (queries, d) float32 unit vectors, or None.
        new: makes arrays of a number a row, as `numpy.empty` does.
    """
    parts = groups(tasks if grouping is None else grouping, new)
    units = instances(len(tasks), new) if granularity == "instance" else parts
    return Pool(units, parts, None if vectors is None else unit_vectors(vectors, units), queries)


def load_pool(
    granularity: Granularity,
    dataset: Artifact,
    embeddings: Artifact | None,
    grouping: Artifact | None,
) -> Pool:
    """The pool of a data set at a granularity; its arrays of a number a row lie in files, on the
    disk of the data set."""
    splits = dataset.info["splits"]
    pool, queries = splits["pool"]["instances"], splits["query"]["instances"]
    vectors = load_vectors(embeddings) if embeddings else None

    def new(shape: tuple[int, ...], dtype: type[np.int64]) -> NDArray[np.int64]:
        return scratch_array(dataset.path.parent, dtype, shape)

    with writing(dataset.path.parent):
        return make_pool(
            granularity,
            _task_labels(dataset, new((pool,), np.int64)),
            None if grouping is None else load_array(grouping.path / "labels.npy"),
            None if vectors is None else vectors[:pool],
            None if vectors is None else vectors[pool : pool + queries],
            new,
        )


def _task_labels(dataset: Artifact, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fill in the number of each row's task in the pool, read a row group at a time."""
    file, numbers, first = pq.ParquetFile(dataset.path / INSTANCES_FILE), dict[str, int](), 0
    for group in range(file.num_row_groups):
        if first == len(labels):
            break
        tasks = file.read_row_group(group, ["task"])["task"].slice(0, len(labels) - first)
        tasks = tasks.combine_chunks().dictionary_encode()
        known = [numbers.setdefault(name, len(numbers)) for name in tasks.dictionary.to_pylist()]
        here = np.array(known, np.int64)[tasks.indices.to_numpy()]
        labels[first : first + len(here)] = here
        first += len(here)
    return labels


def groups_spec(dataset: Artifact, embeddings: Artifact, section: Clusters) -> Spec:
    """`labels.npy`: (pool,) int64, the k-means group of each row."""
    pool = dataset.info["splits"]["pool"]["instances"]

    def make(folder: Path, line: Line) -> dict[str, int]:
        labels = kmeans_labels(load_vectors(embeddings)[:pool], section.clusters, section.seed)
        np.save(folder / "labels.npy", labels)
        return {"clusters": len(np.unique(labels))}

    return Spec(
        kind="clusters",
        key={
            "version": GROUPS_VERSION,
            "embeddings": embeddings.digest,
            **section.model_dump(mode="json"),
        },
        make=make,
        name=granularity_name(section),
        describe=lambda info: f"{info['clusters']:,} with rows",
    )


def granularity_name(granularity: Granularity) -> str:
    """A granularity in a word or two, as `instance` or `64 clusters`."""
    return granularity if isinstance(granularity, str) else f"{granularity.clusters} clusters"


def load_vectors(embeddings: Artifact) -> Floats:
    """(pool + query + held-out, d) float32, memory-mapped."""
    vectors: Floats = load_array(embeddings.path / "vectors.npy")
    return vectors
