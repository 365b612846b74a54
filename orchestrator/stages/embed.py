"""Stage 2: Ray Data shards the embedding of pool and query set over actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray

from orchestrator.artifacts import Artifact, build
from orchestrator.config.schema import Embedding
from orchestrator.data.dataset import embedding_text, load_messages
from orchestrator.screen import Line

EMBED_VERSION = 1
BLOCK_TEXTS = 256


class Embedder:
    """Keeps one sentence-transformers model loaded in an actor."""

    def __init__(self, model: str, embedding: Embedding, threads: int) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        self._batch_size = embedding.batch_size
        self._model = SentenceTransformer(
            model,
            device="cuda" if embedding.gpus_per_worker else "cpu",
            trust_remote_code=False,
            model_kwargs={"dtype": getattr(torch, embedding.dtype)},
        )
        limit = self._model.max_seq_length or embedding.max_length
        self._model.max_seq_length = min(limit, embedding.max_length)

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        vectors = self._model.encode(
            batch["text"].tolist(),
            batch_size=self._batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return {"row": batch["row"], "vector": np.asarray(vectors, dtype=np.float32)}


def build_embeddings(
    instances: Artifact,
    embedding: Embedding,
    model_path: Path,
    model_digest: str,
    store: Path,
    line: Line,
) -> Artifact:
    """`vectors.npy`: (pool + query, d) float32 unit vectors, in row order."""
    splits = instances.info["splits"]
    count = splits["pool"]["instances"] + splits["query"]["instances"]

    def make(folder: Path) -> dict[str, int]:
        texts = _texts(instances.path, count)
        done, vectors = 0, None
        for batch in _embed(texts, embedding, model_path):
            if vectors is None:
                shape = (count, batch["vector"].shape[1])
                vectors = np.lib.format.open_memmap(
                    folder / "vectors.npy", mode="w+", dtype=np.float32, shape=shape
                )
            vectors[batch["row"]] = batch["vector"]
            done += len(batch["row"])
            line.update(done, "texts")
        assert vectors is not None, "an empty pool was refused before"
        vectors.flush()
        return {"texts": count, "dimensions": vectors.shape[1]}

    key = {
        "version": EMBED_VERSION,
        "dataset": instances.digest,
        "model": model_digest,
        "dtype": embedding.dtype,
        "max_length": embedding.max_length,
    }
    return build(store, "embeddings", key, make)


def _texts(dataset: Path, count: int) -> pa.Table:
    """Row and text of pool and query set, longest first.

    Texts of similar length share a batch, so little of it is padding; the longest come first,
    so that a batch too large for memory shows at once.
    """
    texts = [
        embedding_text(messages)
        for _, messages in zip(range(count), load_messages(dataset), strict=False)
    ]
    order = sorted(range(count), key=lambda row: (-len(texts[row]), row))
    return pa.table({"row": order, "text": [texts[row] for row in order]})


def _embed(texts: pa.Table, embedding: Embedding, model_path: Path) -> Any:
    cores = int(ray.cluster_resources().get("CPU", 1))
    blocks = max(embedding.workers, -(-len(texts) // BLOCK_TEXTS))
    dataset = ray.data.from_arrow(texts).repartition(blocks)
    embedded = dataset.map_batches(
        Embedder,
        fn_constructor_kwargs={
            "model": str(model_path),
            "embedding": embedding,
            "threads": max(1, cores // embedding.workers),
        },
        batch_size=BLOCK_TEXTS,
        compute=ray.data.ActorPoolStrategy(size=embedding.workers),
        num_gpus=embedding.gpus_per_worker or None,
        udf_modifying_row_count=False,
    )
    return embedded.iter_batches(batch_size=None, batch_format="numpy")
