"""Vectors of rows that a language model makes of their tokens, as those it is trained on.

What a vector is says the caller; here is what `pooling: gradient` and `path` have in common. The
vectors that a cache lacks are made by Ray Data actors, chunk by chunk, and kept by the content of a
row's tokens, beside those of texts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.data.digests import DIGEST_BYTES, Digests
from orchestrator.host.share import cores
from orchestrator.stages.encoder import Report, Tell, held_and_wanted, mapped, take_in
from orchestrator.stages.memory import with_fewer_tokens
from orchestrator.stages.vector_cache import VectorCache, Vectors
from orchestrator.storage.artifacts import Artifact
from orchestrator.training import tokens as token_table

if TYPE_CHECKING:
    from orchestrator.training.device import Device

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 8192
CHUNK_BATCHES = 8  # forward passes between two reports
STATE_FILE = "state.safetensors"

# Of some rows; whether they are of the pool; the padded tokens of a forward pass.
Maker = Callable[[NDArray[np.int64], bool, int], Vectors]


@dataclass(frozen=True)
class Source:
    """What such vectors are made of.

    Attributes:
        dataset: all instances.
        tokens: theirs.
        embedding: with a pooling that reads tokens.
        model: folder of the model; `model_digest` tells its bytes.
    """

    dataset: Artifact
    tokens: Artifact
    embedding: Embedding
    model: Path
    model_digest: str

    @property
    def batch_tokens(self) -> int:
        """Padded tokens of a forward pass, as long as memory has room for them."""
        return self.embedding.batch_tokens or default_batch_tokens(self.embedding)

    @property
    def table(self) -> token_table.Tokens:
        """The token table, memory-mapped."""
        return token_table.load(self.tokens.path)

    def device(self, threads: int) -> Device:
        """Where this process computes, and in which arithmetic; on a CPU with so many threads."""
        import torch

        from orchestrator.training.device import Device

        torch.set_num_threads(threads)
        place = torch.device("cuda" if self.embedding.gpus_per_worker else "cpu")
        return Device(place, getattr(torch, self.embedding.dtype))


def default_batch_tokens(embedding: Embedding) -> int:
    """Padded tokens of a forward pass where the study names none."""
    return GPU_BATCH_TOKENS if embedding.gpus_per_worker else CPU_BATCH_TOKENS


def in_a_task(
    source: Source, tell: Tell, work: Callable[..., dict[str, Any]], *arguments: Any
) -> dict[str, Any]:
    """What `work(source, batch_tokens, *arguments)` returns, in a process of Ray's with a GPU where
    one is asked for.

    Args:
        tell: called where memory ran out, and the batches are smaller from now on.
        work: writes its files anew where it is called again.

    Raises:
        ResourceError: memory runs out, however small the batches.
    """
    import ray

    # Not again by Ray, which does not know with how many tokens.
    task = ray.remote(num_gpus=source.embedding.gpus_per_worker, max_retries=0)(work)

    def once(batch_tokens: int) -> dict[str, Any]:
        done: dict[str, Any] = ray.get(task.remote(source, batch_tokens, *arguments))
        return done

    return with_fewer_tokens(once, source.batch_tokens, source.embedding, tell)


def row_digests(table: token_table.Tokens, rows: int, pool: int) -> tuple[Digests, int]:
    """Of the tokens, marks and side of the first rows, and how many of them carry no loss.

    Args:
        table: of all instances.
        rows: how many.
        pool: how many of them are on the pool's side.
    """
    joined, unanswered = bytearray(), 0
    for row in range(rows):
        joined += row_digest(table, row, b"pool" if row < pool else b"test")
        unanswered += not has_answer(table, row)
    return np.frombuffer(joined, dtype=f"S{DIGEST_BYTES}"), unanswered


def row_digest(table: token_table.Tokens, row: int, side: bytes = b"test") -> bytes:
    """Of a row's tokens, marks and side: equal where the model is fed the same."""
    part = slice(table.starts[row], table.starts[row + 1])
    digest = hashlib.blake2b(side, digest_size=DIGEST_BYTES)
    digest.update(table.ids[part].tobytes() + table.answer[part].tobytes())
    return digest.digest()


def has_answer(table: token_table.Tokens, row: int) -> bool:
    """Whether a token of a row carries loss; nothing foretells its first."""
    return bool(table.answer[table.starts[row] + 1 : table.starts[row + 1]].any())


def fill(
    cache: VectorCache,
    digests: Digests,
    pool: int,
    source: Source,
    open_maker: Callable[[int], Maker],
    report: Report,
    *,
    tell: Tell,
) -> dict[str, Any]:
    """Make the vectors that the cache lacks; returns, and raises, what `Encoder.fill` does.

    Args:
        cache: of the vectors.
        digests: of all rows, in row order.
        pool: how many of them are of the pool, which come first.
        source: what they are made of.
        open_maker: pickled to the actors, called once in each with its threads.
        report: called at the start and as vectors arrive.
        tell: called where memory ran out, and the batches are smaller from now on.
    """
    held, wanted = held_and_wanted(cache, digests)
    missing = int(wanted.sum())
    report(missing, 0.0)

    def make(batch_tokens: int) -> float | None:
        # Calls that did not get to the end have made some.
        rows = np.flatnonzero(wanted & ~cache.held(digests))
        if not len(rows):
            return None
        lengths = source.table.lengths[rows]
        # The pool apart from test items, and of each the longest first, so that a batch too large
        # for the memory shows at once.
        order = np.lexsort((-lengths, rows >= pool))
        rows, lengths = rows[order], lengths[order]
        items = _chunks(rows, lengths, digests[rows], pool, batch_tokens)
        more = {"open_maker": open_maker, "batch_tokens": batch_tokens}
        made = mapped(items, ChunkOfVectors, source.embedding, **more)
        return take_in(made, digests, len(rows), cache, report)

    rate = with_fewer_tokens(make, source.batch_tokens, source.embedding, tell, cache.count)
    return {"cached": held, "embedded": missing, "rate": rate}


def _chunks(
    rows: NDArray[np.int64],
    lengths: NDArray[np.int64],
    digests: Digests,
    pool: int,
    batch_tokens: int,
) -> list[dict[str, Any]]:
    """What an actor is given at once: rows of one side, some batches of them.

    Args:
        rows: (n,) int64; those of the pool, the first `pool` of all rows, come first.
        lengths: (n,) int64, their tokens.
        digests: (n,) of them.
    """
    chunk = np.cumsum(lengths) // (CHUNK_BATCHES * batch_tokens)
    cuts = np.flatnonzero(np.diff(chunk) | np.diff(rows >= pool)) + 1
    read = np.ascontiguousarray(digests).view(np.int64).reshape(-1, 2)
    return [
        {"rows": part, "read": of_part.ravel(), "pool": bool(part[0] < pool)}
        for part, of_part in zip(np.split(rows, cuts), np.split(read, cuts), strict=True)
    ]


class ChunkOfVectors:
    """Keeps a model open in an actor."""

    def __init__(
        self,
        embedding: Embedding,
        share: int,
        open_maker: Callable[[int], Maker],
        batch_tokens: int,
    ) -> None:
        self._vectors = open_maker(max(1, cores() // share))
        self._batch_tokens = batch_tokens

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        rows = batch["rows"][0]
        return {
            "row": rows,
            "vector": self._vectors(rows, bool(batch["pool"][0]), self._batch_tokens),
            "cut": np.zeros(len(rows), bool),
            "read": batch["read"][0].reshape(-1, 2),
            "seconds": np.full(len(rows), (time.monotonic() - started) / len(rows)),
        }
