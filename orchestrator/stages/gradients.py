"""Stage 2 with `pooling: gradient`: a warm-up of small adapters, then a vector for each row.

What a vector is stands in `training.gradients`. Vectors are kept by the content of a row's tokens,
beside those of texts; of the pool and of test items apart, as they are made in two ways.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.schema import Embedding
from orchestrator.data.digests import DIGEST_BYTES, Digests
from orchestrator.host.share import cores
from orchestrator.screen import Line
from orchestrator.stages.embed import describe_embeddings, embedded_rows, resolution
from orchestrator.stages.encoder import Report, held_and_wanted, mapped, take_in
from orchestrator.stages.spec import Spec
from orchestrator.stages.vector_cache import VectorCache
from orchestrator.storage.artifacts import Artifact, key_digest
from orchestrator.training import tokens as token_table

if TYPE_CHECKING:
    from orchestrator.training.gradients import GradientModel

GRADIENTS_VERSION = 1
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 8192
CHUNK_BATCHES = 8  # forward passes between two reports
STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class Source:
    """What gradient vectors are made of.

    Attributes:
        dataset: all instances.
        tokens: theirs.
        embedding: with `pooling: gradient`.
        model: folder of the model; `model_digest` tells its bytes.
    """

    dataset: Artifact
    tokens: Artifact
    embedding: Embedding
    model: Path
    model_digest: str

    @property
    def batch_tokens(self) -> int:
        default = GPU_BATCH_TOKENS if self.embedding.gpus_per_worker else CPU_BATCH_TOKENS
        return self.embedding.batch_tokens or default

    def open(self, threads: int) -> tuple[GradientModel, token_table.Tokens]:
        """The model and the token table, in whatever process."""
        import torch

        from orchestrator.training.device import Device
        from orchestrator.training.gradients import GradientModel

        torch.set_num_threads(threads)
        place = torch.device("cuda" if self.embedding.gpus_per_worker else "cpu")
        device = Device(place, getattr(torch, self.embedding.dtype))
        model = GradientModel(self.model, self.embedding.gradient, device)
        return model, token_table.load(self.tokens.path)


def warm_up_spec(source: Source) -> Spec:
    """`state.safetensors`: adapters after a few steps on random pool rows, and Adam's moments.

    The artifact remembers the `losses` of the steps.
    """
    settings = source.embedding.gradient
    pool = source.dataset.info["splits"]["pool"]["instances"]
    drawn = np.random.default_rng(settings.seed)
    wanted = min(pool, settings.warm_up_steps * settings.warm_up_rows)
    rows = drawn.permutation(pool)[:wanted]
    steps = np.array_split(rows, -(-wanted // settings.warm_up_rows))

    def make(folder: Path, line: Line) -> dict[str, Any]:
        import ray

        task = ray.remote(num_gpus=source.embedding.gpus_per_worker)(_warm_up)
        return {"losses": ray.get(task.remote(source, steps, folder))}

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
        digests, unanswered = _digests(token_table.load(source.tokens.path), splits)
        info = _fill(cache, digests, splits["pool"], source, warm_up, report)
        gathered = cache.gather(digests, folder / "vectors.npy")
        info |= {"texts": count, "dimensions": gathered.shape[1], "splits": splits}
        info |= {"unanswered": unanswered}
        return info | resolution(digests, *cache.readings(digests))

    return Spec(
        kind="embeddings",
        key={"version": GRADIENTS_VERSION, "tokens": source.tokens.digest, "vectors": vectors},
        make=make,
        name="gradient vectors",
        describe=describe_embeddings,
        total=count,
    )


class ChunkOfGradients:
    """Keeps a warmed-up model open in an actor."""

    def __init__(self, embedding: Embedding, share: int, source: Source, state: Path) -> None:
        from safetensors.torch import load_file

        self._model, self._tokens = source.open(max(1, cores() // share))
        self._model.load_state(load_file(state))
        self._batch_tokens = source.batch_tokens

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        rows, pool = batch["rows"][0], bool(batch["pool"][0])
        return {
            "position": batch["positions"][0],
            "vector": self._model.vectors(self._tokens, rows, self._batch_tokens, pool=pool),
            "cut": np.zeros(len(rows), bool),
            "read": batch["read"][0].reshape(-1, 2),
            "seconds": np.full(len(rows), time.monotonic() - started),
        }


def _warm_up(source: Source, steps: list[NDArray[np.int64]], folder: Path) -> list[float]:
    from safetensors.torch import save_file

    model, tokens = source.open(cores())
    losses = model.warm_up(tokens, steps, source.batch_tokens)
    save_file(model.state(), folder / STATE_FILE)
    return losses


def _fill(
    cache: VectorCache,
    digests: Digests,
    pool: int,
    source: Source,
    warm_up: Artifact,
    report: Report,
) -> dict[str, Any]:
    """Make the vectors that the cache lacks; returns what `Encoder.fill` does."""
    held, wanted = held_and_wanted(cache, digests)
    rows = np.flatnonzero(wanted)
    report(len(rows), 0.0)
    rate = None
    if len(rows):
        lengths = token_table.load(source.tokens.path).lengths[rows]
        # The pool apart from test items, and of each the longest first, so that a batch too large
        # for the memory shows at once.
        order = np.lexsort((-lengths, rows >= pool))
        rows, lengths = rows[order], lengths[order]
        chunk = np.cumsum(lengths) // (CHUNK_BATCHES * source.batch_tokens)
        cuts = np.flatnonzero(np.diff(chunk) | np.diff(rows >= pool)) + 1
        read = np.ascontiguousarray(digests[rows]).view(np.int64).reshape(-1, 2)
        items = [
            {
                "rows": part,
                "positions": place,
                "read": read[place].ravel(),
                "pool": bool(part[0] < pool),
            }
            for part, place in zip(
                np.split(rows, cuts), np.split(np.arange(len(rows)), cuts), strict=True
            )
        ]
        made = mapped(
            items, ChunkOfGradients, source.embedding,
            source=source, state=warm_up.path / STATE_FILE,
        )  # fmt: skip
        rate = take_in(made, digests[rows], cache, report)
    return {"cached": held, "embedded": len(rows), "rate": rate}


def _digests(table: token_table.Tokens, splits: dict[str, int]) -> tuple[Digests, int]:
    """Of each row's tokens, marks and side; and how many rows carry no loss."""
    joined, unanswered = bytearray(), 0
    for row in range(sum(splits.values())):
        part = slice(table.starts[row], table.starts[row + 1])
        answer = table.answer[part]
        digest = hashlib.blake2b(b"pool" if row < splits["pool"] else b"test", digest_size=16)
        digest.update(table.ids[part].tobytes() + answer.tobytes())
        joined += digest.digest()
        unanswered += not answer[1:].any()
    return np.frombuffer(bytes(joined), dtype=f"S{DIGEST_BYTES}"), unanswered
