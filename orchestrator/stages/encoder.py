"""The vectors of any number of texts: what the cache lacks is embedded by Ray Data actors.

The driver never holds more than a window of texts. It writes the missing ones to a file in
chunks of similar length; an actor is told the number of a chunk and reads it there, so that the
file has to be where all nodes see it, as the store is.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.data.digests import Digests
from orchestrator.errors import ModelError
from orchestrator.host.share import cores
from orchestrator.stages.mapped import blocks
from orchestrator.stages.memory import with_fewer_tokens
from orchestrator.stages.numbered import NumberedDigests
from orchestrator.stages.vector_cache import VectorCache, vectors_key
from orchestrator.storage.artifacts import key_digest

# Tokens of a forward pass. On a CPU the activations of a small batch stay in its cache; a GPU
# needs many tokens to be busy.
CPU_BATCH_TOKENS, GPU_BATCH_TOKENS = 1024, 16_384
# A chunk fills some twenty batches: enough that tokenising and handing over cost nothing, little
# enough that the screen moves every few seconds where there are less than BLOCKS of them.
CHUNK_TEXTS_PER_TOKEN = 0.25
WINDOW_CHUNKS = 16  # chunks whose texts are sorted by length together
# Ray remembers what it did of every block, in the driver and to the end of the data set. What a
# kill costs is a block.
BLOCKS = 1_000
ROW_AND_TEXT = pa.schema([("row", pa.int64()), ("text", pa.string())])

Texts = Callable[[], Iterable[str]]  # called anew for each reading
Report = Callable[[int, float], None]  # texts still missing, texts embedded per second
Tell = Callable[[str], None]  # a sentence that stays on the screen


@dataclass(frozen=True)
class Encoder:
    """A model, the settings that decide its vectors, and the store that keeps them.

    Raises:
        ModelError: the model has no pooling that `embedding.pooling` could replace.
    """

    model: Path
    digest: str
    embedding: Embedding
    store: Path

    def __post_init__(self) -> None:
        # Here, because an error in an actor reaches the user as one of Ray's.
        modules = self.model / "modules.json"
        pooling = self.embedding.pooling
        if pooling != "auto" and modules.is_file():
            kinds = [module["type"] for module in json.loads(modules.read_bytes())]
            if not any(kind.endswith(".Pooling") for kind in kinds):
                raise ModelError(
                    f"embedding.pooling is {pooling}, but the model in {self.model} has no pooling "
                    "module that it could replace (modules.json): set embedding.pooling to auto"
                )

    def fill(
        self, texts: Texts, digests: Digests, scratch: Path, report: Report, tell: Tell
    ) -> tuple[VectorCache, dict[str, Any]]:
        """Embed the texts that the cache lacks, each distinct one once.

        Args:
            texts: all texts.
            digests: of each text.
            scratch: a folder that all nodes see, for a file that is removed afterwards.
            report: called at the start and as vectors arrive.
            tell: called where memory ran out, and the batches are smaller from now on.

        Returns:
            The cache, which holds all texts now. How many were `cached` before, how many were
            `embedded`, and the `rate` of that in texts per second, null where there were none.

        Raises:
            ResourceError: memory runs out, however small the batches.
        """
        cache = VectorCache(
            self.store / "vectors" / key_digest(vectors_key(self.digest, self.embedding))[:16]
        )
        held, wanted = held_and_wanted(cache, digests)
        missing = int(wanted.sum())
        report(missing, 0.0)

        def embed(batch_tokens: int) -> float | None:
            left = wanted & ~cache.held(digests)  # by calls that did not get to the end
            if not left.any():
                return None
            path = scratch / "texts.parquet"
            chunk = max(1, int(batch_tokens * CHUNK_TEXTS_PER_TOKEN))
            _write_chunks(texts(), left, chunk, path)
            made = self._vectors(path, batch_tokens)
            rate = take_in(made, digests, int(left.sum()), cache, report)
            path.unlink()
            return rate

        batch_tokens = self.embedding.batch_tokens or (
            GPU_BATCH_TOKENS if self.embedding.gpus_per_worker else CPU_BATCH_TOKENS
        )
        rate = with_fewer_tokens(embed, batch_tokens, self.embedding, tell, cache.count)
        return cache, {"cached": held, "embedded": missing, "rate": rate}

    def _vectors(self, path: Path, batch_tokens: int) -> Iterator[dict[str, NDArray[Any]]]:
        """For each text its row among all, its vector, whether it was cut, what was read
        of it, and its share of the seconds of its chunk, as they come."""
        chunks = pq.ParquetFile(path).metadata.num_row_groups
        return mapped(
            [{"chunk": number} for number in range(chunks)],
            ChunkEmbedder,
            self.embedding,
            path=path,
            model=self.model,
            batch_tokens=batch_tokens,
        )


def held_and_wanted(cache: VectorCache, digests: Digests) -> tuple[int, NDArray[np.bool_]]:
    """How many vectors a cache holds, and (n,) which to make: each distinct one once."""
    held = cache.held(digests)
    parts = (digests[block] for block in blocks(len(digests)))
    first = NumberedDigests(parts, len(digests), cache.folder).firsts()
    return int(held.sum()), first & ~held


def take_in(
    batches: Iterable[dict[str, NDArray[Any]]],
    digests: Digests,
    missing: int,
    cache: VectorCache,
    report: Report,
) -> float:
    """Put vectors into the cache as they come; returns how many a second.

    Args:
        batches: with the `row` of each vector in `digests`, the `vector`, whether the text was
            `cut`, what was `read` of it, and its share of the `seconds` that its chunk took.
        digests: of all rows.
        missing: how many vectors will come.
        report: called as vectors arrive.
    """
    done, started, rate = 0, None, 0.0
    try:
        for batch in batches:
            cache.add(digests[batch["row"]], batch["vector"], batch["cut"], batch["read"])
            now = time.monotonic()
            # From the begin of the first batch: loading the model is no embedding.
            started = started or now - float(batch["seconds"].sum())
            done += len(batch["row"])
            rate = done / (now - started)
            report(missing - done, rate)
    finally:
        # An interrupted run keeps what has arrived.
        cache.flush()
    return rate


def mapped(
    items: list[dict[str, Any]], actor: type, embedding: Embedding, **more: Any
) -> Iterator[dict[str, NDArray[Any]]]:
    """What the actors of Ray Data make of items, as it comes; the death of one ends it.

    Args:
        items: one a call.
        actor: made with `embedding`, with how many actors `share` a node, and with `more`.
        embedding: how many actors, with how many GPUs each.
    """
    import ray.data  # here: an estimate, which imports the stages for their keys, needs no Ray

    workers, gpus = embedding.workers, embedding.gpus_per_worker
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    dataset = ray.data.from_items(items, override_num_blocks=min(len(items), BLOCKS))
    # Actors that share a node share its cores.
    arguments = {"embedding": embedding, "share": -(-workers // max(1, len(nodes))), **more}
    made = dataset.map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=gpus or None,
        max_restarts=0,  # Ray Data would begin the same again for ever
    )
    return iter(made.iter_batches(batch_size=None, batch_format="numpy"))


class ChunkEmbedder:
    """Keeps a model and the file of texts open in an actor."""

    def __init__(
        self, path: Path, model: Path, embedding: Embedding, batch_tokens: int, share: int
    ) -> None:
        from orchestrator.models.embedder import Embedder

        self._texts = pq.ParquetFile(path)
        threads = max(1, cores() // share)
        device = "cuda" if embedding.gpus_per_worker else "cpu"
        self._embedder = Embedder(model, embedding, batch_tokens, threads, device)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        started = time.monotonic()
        chunk = self._texts.read_row_group(int(batch["chunk"][0]))
        texts = chunk["text"].to_pylist()
        read = self._embedder.read(texts)
        return {
            "row": chunk["row"].to_numpy(),
            "vector": read.vectors,
            "cut": read.cut,
            "read": read.digests.view(np.int64).reshape(-1, 2),  # Arrow ends bytes at a NUL
            "seconds": np.full(len(texts), (time.monotonic() - started) / len(texts)),
        }


def _write_chunks(texts: Iterable[str], wanted: NDArray[np.bool_], chunk: int, path: Path) -> None:
    """Write the wanted texts with their rows, each window of them longest first, in row groups of
    `chunk`.

    The longest come first so that a batch too large for the memory shows at once.
    """
    chosen = ((row, text) for row, text in enumerate(texts) if wanted[row])
    with pq.ParquetWriter(path, ROW_AND_TEXT) as writer:
        while window := list(itertools.islice(chosen, WINDOW_CHUNKS * chunk)):
            window.sort(key=lambda item: -len(item[1]))
            columns = [list(column) for column in zip(*window, strict=True)]
            writer.write_table(pa.table(columns, schema=ROW_AND_TEXT), row_group_size=chunk)
