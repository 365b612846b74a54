"""Stage 2 with `pooling: path`: adapters for each group of queries, then scores of the pool.

What a vector is stands in `training.target_path`. Adapters see the answers of queries, and of no
other row; a query that the held-out set has, too, is left out. Held-out items have no vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError
from orchestrator.host.share import cores
from orchestrator.screen import Line
from orchestrator.stages.embed import describe_embeddings, embedded_rows, resolution
from orchestrator.stages.search import kmeans_labels
from orchestrator.stages.spec import Spec
from orchestrator.stages.token_vectors import (
    STATE_FILE,
    Maker,
    Source,
    fill,
    has_answer,
    in_a_task,
    row_digest,
    row_digests,
)
from orchestrator.stages.vector_cache import VectorCache, Vectors
from orchestrator.storage.artifacts import Artifact, key_digest

PATH_VERSION = 1
GROUPS_FILE = "groups.npy"


def paths_spec(source: Source) -> Spec:
    """`state.safetensors`: the adapters of each group of queries, and `groups.npy`: (queries,)
    int64, the group of each.

    The artifact remembers the number of `groups`, how many queries were `left_out` of the training
    as they are held out, too, and the mean of the others' `losses` at each step.

    Raises:
        DataError: no query is left with an answer.
    """
    table, splits = source.table, embedded_rows(source.dataset)
    first, end = splits["pool"], splits["pool"] + splits["query"]
    held_out = {row_digest(table, row) for row in range(end, end + splits["held_out"])}
    digests = [row_digest(table, row) for row in range(first, end)]
    seen = np.array([digest not in held_out for digest in digests])
    learned = seen & [has_answer(table, row) for row in range(first, end)]
    if not learned.any():
        raise DataError(
            "embedding.pooling: path trains on the answers of data.query, and no item of it has "
            f"one within {source.embedding.max_length:,} tokens that data.held_out does not have, "
            "too: raise embedding.max_length, or name another set"
        )
    left_out = int((~seen).sum())

    def make(folder: Path, line: Line) -> dict[str, Any]:
        info = in_a_task(source, line.tell, follow, first, learned, folder)
        return info | {"left_out": left_out}

    return Spec(
        kind="target_path",
        key={
            "version": PATH_VERSION,
            "model": source.model_digest,
            "queries": hashlib.blake2b(b"".join(digests) + learned.tobytes()).hexdigest(),
            "dtype": source.embedding.dtype,
            **source.embedding.path.model_dump(),
        },
        make=make,
        name="adapters on queries",
        describe=lambda info: (
            f"{info['groups']} groups, loss {info['losses'][0]:.3f} to {info['losses'][-1]:.3f}"
        ),
        remarks=_remarks,
    )


def path_vectors_spec(source: Source, paths: Artifact, store: Path) -> Spec:
    """`vectors.npy`: (pool + query, groups + 1) float32 unit vectors, in row order.

    The artifact remembers what that of `embeddings_spec` does, and of how many rows of the pool no
    token carries loss, `unanswered`, which no group is near to.

    Args:
        store: folder that holds the vectors of single rows as well.
    """
    splits = {name: embedded_rows(source.dataset)[name] for name in ("pool", "query")}
    pool = splits["pool"]
    vectors = {"version": PATH_VERSION, "paths": paths.digest}

    def make(folder: Path, line: Line) -> dict[str, Any]:
        from orchestrator.training.target_path import axes

        def report(missing: int, rate: float) -> None:
            line.update(pool - missing, f"{rate:,.1f} rows/s" if rate else "")

        cache = VectorCache(store / "vectors" / key_digest(vectors)[:16])
        digests, unanswered = row_digests(source.table, pool, pool)
        maker = partial(_maker, source, paths.path)
        info = fill(cache, digests, pool, source, maker, report, tell=line.tell)
        path = folder / "vectors.npy"
        scored = np.array(cache.gather(digests, path))
        groups = np.load(paths.path / GROUPS_FILE, allow_pickle=False)
        np.save(path, np.concatenate([scored, axes(groups, paths.info["groups"])]))
        info |= {"texts": sum(splits.values()), "dimensions": scored.shape[1], "splits": splits}
        info |= {"unanswered": unanswered}
        return info | resolution(digests, cache.readings(digests), folder)

    return Spec(
        kind="embeddings",
        key={"version": PATH_VERSION, "tokens": source.tokens.digest, "vectors": vectors},
        make=make,
        name="target-path vectors",
        describe=describe_embeddings,
        total=pool,
    )


def follow(
    source: Source, batch_tokens: int, first: int, learned: NDArray[np.bool_], folder: Path
) -> dict[str, Any]:
    """Group the queries and train the adapters of each group, into the files of `paths_spec`.

    A query whose group has none that is trained on is of the group of the nearest one that is.

    Args:
        batch_tokens: padded tokens of a forward pass.
        first: row of the first query.
        learned: (queries,) which of them are trained on.
        folder: of the files.

    Returns:
        The number of `groups`, and the mean of the `losses` at each step.
    """
    from safetensors.torch import save_file

    from orchestrator.training.target_path import PathModel

    settings, tokens = source.embedding.path, source.table
    model = PathModel(source.model, settings, source.device(cores()))
    queries = first + np.arange(len(learned))
    states = model.states(tokens, queries, batch_tokens)
    labels = kmeans_labels(states, min(settings.clusters, len(queries)), settings.seed)
    untaught = ~np.isin(labels, labels[learned])
    nearest = (states[untaught] @ states[learned].T).argmax(axis=1)
    labels[untaught] = labels[learned][nearest]
    groups = np.unique(labels, return_inverse=True)[1]
    parts = [queries[learned & (groups == group)] for group in range(groups.max() + 1)]
    losses = model.follow(tokens, parts, batch_tokens)
    save_file(model.state(), folder / STATE_FILE)
    np.save(folder / GROUPS_FILE, groups)
    means = np.average(losses, axis=0, weights=[len(part) for part in parts])
    return {"groups": len(parts), "losses": means.tolist()}


def _maker(source: Source, paths: Path, threads: int) -> Maker:
    """What makes vectors in an actor, with the adapters of all groups."""
    from safetensors.torch import load_file

    from orchestrator.training.target_path import PathModel

    model = PathModel(source.model, source.embedding.path, source.device(threads))
    model.load_state(load_file(paths / STATE_FILE))
    tokens = source.table

    def vectors(rows: NDArray[np.int64], _: bool, batch_tokens: int) -> Vectors:
        return model.vectors(tokens, rows, batch_tokens)

    return vectors


def _remarks(info: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if info["left_out"]:
        yield (
            "note",
            f"embeddings: {info['left_out']:,} items of data.query are in data.held_out, too: "
            "pooling: path did not train on them",
        )
