"""How near a plan comes to the query set, step by step; and the texts behind the bigram measure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.config.schema import TrialConfig
from orchestrator.core.bigrams import Bigrams, count_bigrams
from orchestrator.core.measures import MEASURES, measure_curves
from orchestrator.data.dataset import embedding_text, load_columns_of, load_messages_of
from orchestrator.stages.pool import load_vectors
from orchestrator.storage.artifacts import Artifact, write_table
from orchestrator.storage.files import MEASURES_SCHEMA
from orchestrator.training.spec import evaluation_steps, planned_rows_fed


def write_measures(
    rows: NDArray[np.int64],
    config: TrialConfig,
    dataset: Artifact,
    embeddings: Artifact,
    path: Path,
) -> None:
    """`measures.parquet`: how near the rows seen by each evaluated step are to the query set.

    A row for each step (0 has seen nothing and is left out) and each task of the query set, and
    one with task null for the whole set: step, rows, task, and the nine measures.

    Args:
        rows: (n,) int64 rows of the plan, in its order; one of each pass over the data is seen
            as often as it comes.
    """
    steps = evaluation_steps(config, len(rows))[1:]
    points = planned_rows_fed(config, np.array(steps), len(rows))
    vectors = load_vectors(embeddings)
    splits = dataset.info["splits"]
    first = splits["pool"]["instances"]
    queries = np.arange(first, first + splits["query"]["instances"])
    column = load_columns_of(dataset.path, queries, ["task"])["task"]
    tasks = column.combine_chunks().dictionary_encode()
    seen = rows[: points[-1]]
    # Each text once and in the order of the file, so that only a batch of them is held.
    rising, place = np.unique(seen, return_inverse=True)
    bigrams, query_bigrams = count_bigrams(
        load_texts(dataset, rising), load_texts(dataset, queries)
    )
    curves = measure_curves(
        vectors,
        vectors[queries],
        tasks.indices.to_numpy().astype(np.int64),
        points,
        (bigrams.take(place), query_bigrams),
        seen,
    )
    names = [None, *tasks.dictionary.to_pylist()]
    columns = {
        "step": np.repeat(np.array(steps, np.int32), len(names)),
        "rows": np.repeat(points, len(names)),
        "task": pa.array(names * len(points), pa.string()),
    }
    values = curves.reshape(-1, len(MEASURES)).T
    masked = {
        name: pa.array(value, mask=np.isnan(value))
        for name, value in zip(MEASURES, values, strict=True)
    }
    write_table(path, pa.table(columns | masked, schema=MEASURES_SCHEMA))


def load_bigrams(dataset: Artifact) -> tuple[Bigrams, Bigrams]:
    """Bigrams of all rows of the pool, and of the queries."""
    splits = dataset.info["splits"]
    first, queries = splits["pool"]["instances"], splits["query"]["instances"]
    pool, query = count_bigrams(
        load_texts(dataset, np.arange(first)),
        load_texts(dataset, np.arange(first, first + queries)),
    )
    return pool, query


def load_texts(dataset: Artifact, rows: NDArray[np.int64]) -> Iterator[str]:
    """The embedded text of some rows, in the order asked for."""
    return map(embedding_text, load_messages_of(dataset.path, rows))
