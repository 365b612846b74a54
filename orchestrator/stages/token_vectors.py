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
from orchestrator.stages.encoder import Report, held_and_wanted, mapped, take_in
from orchestrator.stages.vector_cache import VectorCache, Vectors
from orchestrator.storage.artifacts import Artifact
from orchestrator.training import tokens as token_table

if TYPE_CHECKING:
    from orchestrator.training.device import Device

CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 8192
CHUNK_BATCHES = 8  # forward passes between two reports
STATE_FILE = "state.safetensors"

Maker = Callable[[NDArray[np.int64], bool], Vectors]  # of some rows; whether they are of the pool


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
        """Padded tokens of a forward pass."""
        default = GPU_BATCH_TOKENS if self.embedding.gpus_per_worker else CPU_BATCH_TOKENS
        return self.embedding.batch_tokens or default

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
    return np.frombuffer(bytes(joined), dtype=f"S{DIGEST_BYTES}"), unanswered


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
) -> dict[str, Any]:
    """Make the vectors that the cache lacks; returns what `Encoder.fill` does.

    Args:
        cache: of the vectors.
        digests: of all rows, in row order.
        pool: how many of them are of the pool, which come first.
        source: what they are made of.
        open_maker: pickled to the actors, called once in each with its threads.
        report: called at the start and as vectors arrive.
    """
    held, wanted = held_and_wanted(cache, digests)
    rows = np.flatnonzero(wanted)
    report(len(rows), 0.0)
    rate = None
    if len(rows):
        lengths = source.table.lengths[rows]
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
        made = mapped(items, ChunkOfVectors, source.embedding, open_maker=open_maker)
        rate = take_in(made, digests[rows], cache, report)
    return {"cached": held, "embedded": len(rows), "rate": rate}


class ChunkOfVectors:
    """Keeps a model open in an actor."""

    def __init__(
        self, embedding: Embedding, share: int, open_maker: Callable[[int], Maker]
    ) -> None:
        self._vectors = open_maker(max(1, cores() // share))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        rows = batch["rows"][0]
        return {
            "position": batch["positions"][0],
            "vector": self._vectors(rows, bool(batch["pool"][0])),
            "cut": np.zeros(len(rows), bool),
            "read": batch["read"][0].reshape(-1, 2),
            "seconds": np.full(len(rows), time.monotonic() - started),
        }
