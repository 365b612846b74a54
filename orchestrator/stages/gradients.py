"""Stage 2 with `pooling: gradient`: a warm-up of small adapters, then a vector for each row.

What a vector is stands in `training.gradients`. Those of the pool and of test items are kept apart,
as they are made in two ways.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError
from orchestrator.host.share import cores
from orchestrator.screen import Line
from orchestrator.stages.embed import describe_embeddings, embedded_rows, resolution
from orchestrator.stages.spec import Spec
from orchestrator.stages.token_vectors import (
    STATE_FILE,
    Maker,
    Source,
    fill,
    has_answer,
    in_a_task,
    row_digests,
)
from orchestrator.stages.vector_cache import VectorCache, Vectors
from orchestrator.storage.artifacts import Artifact, key_digest

GRADIENTS_VERSION = 1


def warm_up_spec(source: Source) -> Spec:
    """`state.safetensors`: adapters after a few steps on random pool rows, and Adam's moments.

    The artifact remembers the `losses` of the steps. Its maker raises DataError where none of the
    rows has an answer.
    """
    settings = source.embedding.gradient
    pool = source.dataset.info["splits"]["pool"]["instances"]
    drawn = np.random.default_rng(settings.seed)
    wanted = min(pool, settings.warm_up_steps * settings.warm_up_rows)
    rows = drawn.permutation(pool)[:wanted]
    steps = np.array_split(rows, -(-wanted // settings.warm_up_rows))

    def make(folder: Path, line: Line) -> dict[str, Any]:
        table = source.table
        if not any(has_answer(table, row) for row in rows.tolist()):
            raise DataError(
                f"gradients are of answers, and none of the {wanted:,} rows of data.pool on which "
                "adapters are warmed up has one within max_length: raise model.max_length, and "
                "embedding.max_length where it is given"
            )
        return in_a_task(source, line.tell, _warm_up, steps, folder)

    return Spec(
        kind="warm_up",
        key={
            "version": GRADIENTS_VERSION,
            "model": source.model_digest,
            "tokens": source.tokens.digest,
            "dtype": source.embedding.dtype,
            **settings.model_dump(exclude={"dimensions"}),
        },
        make=make,
        name="warm-up of adapters",
        describe=lambda info: f"loss {info['losses'][0]:.3f} to {info['losses'][-1]:.3f}",
    )


def gradients_spec(source: Source, warm_up: Artifact, store: Path) -> Spec:
    """`vectors.npy`: (pool + query + held-out, dimensions) float32 unit vectors, in row order.

    The artifact remembers what that of `embeddings_spec` does, and of how many rows no token
    carries loss, `unanswered`, whose vectors are zero.

    Args:
        store: folder that holds the vectors of single rows as well.
    """
    splits = embedded_rows(source.dataset)
    count = sum(splits.values())
    vectors = {
        "version": GRADIENTS_VERSION,
        "warm_up": warm_up.digest,
        "dimensions": source.embedding.gradient.dimensions,
    }

    def make(folder: Path, line: Line) -> dict[str, Any]:
        def report(missing: int, rate: float) -> None:
            line.update(count - missing, f"{rate:,.1f} rows/s" if rate else "")

        cache = VectorCache(store / "vectors" / key_digest(vectors)[:16])
        digests, unanswered = row_digests(source.table, count, splits["pool"])
        maker = partial(_maker, source, warm_up.path / STATE_FILE)
        info = fill(cache, digests, splits["pool"], source, maker, report, tell=line.tell)
        gathered = cache.gather(digests, folder / "vectors.npy")
        info |= {"texts": count, "dimensions": gathered.shape[1], "splits": splits}
        info |= {"unanswered": unanswered}
        return info | resolution(digests, cache.readings(digests), folder)

    return Spec(
        kind="embeddings",
        key={"version": GRADIENTS_VERSION, "tokens": source.tokens.digest, "vectors": vectors},
        make=make,
        name="gradient vectors",
        describe=describe_embeddings,
        total=count,
    )


def _warm_up(
    source: Source, batch_tokens: int, steps: list[NDArray[np.int64]], folder: Path
) -> dict[str, Any]:
    from safetensors.torch import save_file

    from orchestrator.training.gradients import GradientModel

    model = GradientModel(source.model, source.embedding.gradient, source.device(cores()))
    losses = model.warm_up(source.table, steps, batch_tokens)
    save_file(model.state(), folder / STATE_FILE)
    return {"losses": losses}


def _maker(source: Source, state: Path, threads: int) -> Maker:
    """What makes vectors in an actor, with the state of the warm-up."""
    from safetensors.torch import load_file

    from orchestrator.training.gradients import GradientModel

    model = GradientModel(source.model, source.embedding.gradient, source.device(threads))
    model.load_state(load_file(state))
    tokens = source.table

    def vectors(rows: NDArray[np.int64], pool: bool, batch_tokens: int) -> Vectors:
        return model.vectors(tokens, rows, batch_tokens, pool=pool)

    return vectors
