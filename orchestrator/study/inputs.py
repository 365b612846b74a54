"""A pool and its queries as Python has them: vectors, or texts that are embedded in this process.

Not for many texts: a study embeds them on Ray, and keeps their vectors.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.config.faults import show
from orchestrator.errors import DataError, UserError
from orchestrator.host.share import cores
from orchestrator.screen import quiet_cell
from orchestrator.stages.encoder import CHUNK_TEXTS_PER_TOKEN, CPU_BATCH_TOKENS, GPU_BATCH_TOKENS
from orchestrator.stages.vector_files import check_vectors


def side(given: Any, name: str) -> list[str] | NDArray[Any]:
    """The pool or the queries: texts, or vectors as by `check_vectors`.

    Args:
        name: what an error calls them.

    Raises:
        DataError: they are neither.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OUT":
        vectors: NDArray[Any] = given
    elif isinstance(given, str | bytes) or not hasattr(given, "__getitem__"):
        raise _neither(given, name)
    elif _begins_with_text(given):
        return _texts(list(given), name)
    else:
        try:
            vectors = np.asarray(given)
        except (TypeError, ValueError) as error:
            raise _neither(given, name) from error
        if vectors.dtype.kind == "O":
            raise _neither(given, name)
    check_vectors(vectors, name)
    return vectors


def row_ids(given: Sequence[str] | None, rows: int) -> list[str]:
    """The ids of a pool, which are row numbers where none are given.

    Raises:
        DataError: they are no texts, too many or too few, or not distinct.
    """
    if given is None:
        return [str(row) for row in range(rows)]
    ids = _a_text_a_row(given, "ids", rows)
    name, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise DataError(f"ids: {show(name)} is given {times} times: give each row its own")
    return ids


def row_tasks(given: Sequence[str] | None, rows: int) -> list[str | None]:
    """The tasks of a pool, None throughout where none are given.

    Raises:
        DataError: they are no texts, or too many or too few.
    """
    return [None] * rows if given is None else [*_a_text_a_row(given, "tasks", rows)]


def embedded(
    pool: list[str], queries: list[str], model: str | None, store: Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors of texts, made in this process; texts that are equal share theirs.

    Args:
        model: a name or the path of a folder, as `embedding.model` of a study.
        store: folder that keeps models.

    Returns:
        (rows, d) and (queries, d) float32.

    Raises:
        UserError: no model is named, or it cannot be had.
    """
    if model is None:
        raise UserError(
            'pool and queries hold texts: name the model that embeds them, as in model="all-MiniLM-'
            'L6-v2", or give their vectors'
        )
    with quiet_cell(Path(os.devnull)):  # what libraries say while they are imported, and bars
        import torch

        from orchestrator import models
        from orchestrator.models.embedder import Embedder

        folder = models.resolve(model, store)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tokens = GPU_BATCH_TOKENS if device == "cuda" else CPU_BATCH_TOKENS
        embedder = Embedder(folder, Embedding(model=model), tokens, cores(), device)
    # The longest first, so that texts of a chunk are of similar length.
    distinct = sorted(dict.fromkeys([*pool, *queries]), key=len, reverse=True)
    chunk = int(tokens * CHUNK_TEXTS_PER_TOKEN)
    vectors = np.concatenate(
        [embedder.embed(distinct[at : at + chunk]) for at in range(0, len(distinct), chunk)]
    )
    place = {text: row for row, text in enumerate(distinct)}
    return vectors[[place[text] for text in pool]], vectors[[place[text] for text in queries]]


def _neither(given: Any, name: str) -> DataError:
    return DataError(
        f"{name} is a {type(given).__name__} that is no array of numbers: give a list of texts, or "
        "floating-point numbers of shape (rows, dimensions), of a sparse matrix its .toarray()"
    )


def _begins_with_text(given: Any) -> bool:
    try:
        return isinstance(next(iter(given), None), str)
    except TypeError:  # of no dimension
        return False


def _texts(items: list[Any], name: str) -> list[str]:
    for row, item in enumerate(items):
        if not isinstance(item, str):
            raise DataError(f"{name}: row {row} is {show(item)}: give a text a row")
    return items


def _a_text_a_row(given: Sequence[str], name: str, rows: int) -> list[str]:
    items = _texts(list(given), name)
    if len(items) != rows:
        raise DataError(f"{name} has {len(items)} entries, the pool {rows} rows: give one a row")
    return items
