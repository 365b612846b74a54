"""What rows of the pool do to test rows: gradients with their lengths, and losses at the start.

What a vector is stands in `training.influence`, what is made of them in `core.quadratic`. Vectors
are kept by the content of a row's tokens, as gradient vectors are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Lora, Model
from orchestrator.core.quadratic import Course, Doubles, Influence
from orchestrator.core.ranking import Floats
from orchestrator.screen import Line
from orchestrator.stages.dataset import load_answers
from orchestrator.stages.pool import load_vectors
from orchestrator.stages.spec import Spec
from orchestrator.stages.token_vectors import (
    STATE_FILE,
    Maker,
    Source,
    default_batch_tokens,
    fill,
    row_digests,
)
from orchestrator.stages.vector_cache import VectorCache, Vectors
from orchestrator.storage.artifacts import Artifact, key_digest
from orchestrator.training.schedule import learning_rate

INFLUENCE_VERSION = 1


def influence_settings(config: TrialConfig) -> Embedding:
    """How gradients are taken: with the defaults of `embedding.gradient`, whatever the trial has
    there, so that arms are foreseen by the same ones. Of the trial are the actors, their GPUs and
    the size of a forward pass, of a model that embeds texts at most the default.
    """
    embedding = config.embedding
    batch_tokens = embedding.batch_tokens
    if batch_tokens and not embedding.of_tokens:
        batch_tokens = min(batch_tokens, default_batch_tokens(embedding))
    return Embedding(
        pooling="gradient",
        workers=embedding.workers,
        gpus_per_worker=embedding.gpus_per_worker,
        batch_tokens=batch_tokens,
    )


def influence_identity(model: Model) -> dict[str, Any]:
    """What the influence of rows depends on of a model, beside its bytes."""
    read = model.model_dump(include={"name", "revision", "template", "max_length"})
    return {**read, "trained": _moved(model.adapter)}


def influence_spec(
    source: Source, warm_up: Artifact, store: Path, trained: Literal["none"] | Lora
) -> Spec:
    """`vectors.npy`: (instances, dimensions + 1) float32, phi and then the loss, in row order.

    Test items are read as rows of the pool are, at `model.max_length`. A row without an answer has
    zeros, and NaN for its loss; the artifact remembers how many there are, `unanswered`.

    Args:
        source: its tokens are those that the model is trained on.
        store: folder that holds the vectors of single rows as well.
        trained: the adapter that is trained, which decides how far a step moves: by its alpha and
            the layers that it is beside, whatever its rank (`training.influence`).
    """
    count = sum(split["instances"] for split in source.dataset.info["splits"].values())
    vectors = {
        "version": INFLUENCE_VERSION,
        "warm_up": warm_up.digest,
        "dimensions": source.embedding.gradient.dimensions,
        "trained": _moved(trained),
    }

    def make(folder: Path, line: Line) -> dict[str, Any]:
        def report(missing: int, rate: float) -> None:
            line.update(count - missing, f"{rate:,.1f} rows/s" if rate else "")

        cache = VectorCache(store / "vectors" / key_digest(vectors)[:16])
        # The side of a row changes nothing: all are on one.
        digests, unanswered = row_digests(source.table, count, count)
        maker = partial(_maker, source, warm_up.path / STATE_FILE, trained)
        info = fill(cache, digests, count, source, maker, report, tell=line.tell)
        cache.gather(digests, folder / "vectors.npy")
        return info | {"rows": count, "unanswered": unanswered}

    return Spec(
        kind="influence",
        key={"version": INFLUENCE_VERSION, "tokens": source.tokens.digest, "vectors": vectors},
        make=make,
        name="influence of rows",
        describe=_describe,
        total=count,
    )


def load_influence(
    artifact: Artifact, dataset: Artifact, tokens: Artifact, config: TrialConfig
) -> Influence:
    """What a plan's search may know: of test items those of the query set alone.

    Args:
        tokens: those that the model is trained on.
    """
    phi, losses = load_phi(artifact)
    pool, queries = (dataset.info["splits"][name]["instances"] for name in ("pool", "query"))
    mass = row_mass(load_answers(dataset, tokens), config.training.loss)
    asked = slice(pool, pool + queries)
    return Influence(phi[:pool], mass, phi[asked], losses[asked], course_of(config))


def load_phi(artifact: Artifact) -> tuple[Floats, Doubles]:
    """Of all instances phi (n, d) float32, memory-mapped, and losses at the start (n,) float64."""
    vectors = load_vectors(artifact)
    return vectors[:, :-1], vectors[:, -1].astype(np.float64)


def row_mass(answers: NDArray[np.int64], loss: str) -> Doubles:
    """What each row counts in the mean of its batch, (rows,) float64, by `training.loss`.

    Of `authors` as of one micro-batch a step: how steps are split is not known before.

    Args:
        answers: (rows,) int64, tokens that carry loss.
    """
    return (np.minimum(answers, 1) if loss == "example_mean" else answers).astype(np.float64)


def course_of(config: TrialConfig) -> Course:
    """How a trial trains on its plan."""
    training = config.training

    def rate(step: int, steps: int) -> float:
        return learning_rate(
            step, steps, training.learning_rate, training.schedule,
            training.min_lr_ratio, training.warmup_steps,
        )  # fmt: skip

    return Course(
        training.global_batch, rate, training.epochs, training.max_steps, training.betas[0]
    )


def _moved(trained: Literal["none"] | Lora) -> str | dict[str, Any]:
    """What decides how far a step moves the weights."""
    return "none" if trained == "none" else trained.model_dump(include={"alpha", "targets"})


def _maker(source: Source, state: Path, trained: Literal["none"] | Lora, threads: int) -> Maker:
    """What makes vectors in an actor, with the second moments of the warm-up."""
    from safetensors.torch import load_file

    from orchestrator.training.gradients import GradientModel
    from orchestrator.training.influence import influences

    model = GradientModel(source.model, source.embedding.gradient, source.device(threads))
    model.load_moments(load_file(state))
    tokens = source.table

    def vectors(rows: NDArray[np.int64], pool: bool, batch_tokens: int) -> Vectors:
        return influences(model, tokens, rows, batch_tokens, trained)

    return vectors


def _describe(info: Mapping[str, Any]) -> str:
    cached = f" ({info['cached']:,} from the cache)" if info["cached"] else ""
    rate = f", {info['rate']:,.1f} rows/s" if info["rate"] else ""
    return f"{info['rows']:,} rows{cached}{rate}"
