"""Texts to unit vectors with a model of a local folder.

A sentence-transformers folder is used as it was made. A causal language model gives the mean of
its last hidden states h_i with weights that rise with the position, sum_i i h_i / sum_i i
(RDS+, arXiv 2503.01807, section 3): in a causal model only the late positions have read the text.

A chunk of texts is tokenised at once and sorted by token count, so that hardly any of a batch is
padding. Not for a handful of texts, where `SentenceTransformer.encode` is as fast.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoConfig

from orchestrator.config.embedding import Embedding

# Our names -> those of sentence-transformers.
POOLINGS = {"mean": "mean", "weighted_mean": "weightedmean"}
# What transformers is told of each part of a model: no code that comes with it, no pickles.
OWN_CODE = {"trust_remote_code": False}
WEIGHTS = {"use_safetensors": True}


class Reading(NamedTuple):
    """What an embedding model made of some texts, and how much of them it read.

    Attributes:
        vectors: (n, d) float32, of length one.
        cut: (n,) bool, texts with more tokens than are read.
        digests: (n,) of 16 bytes: of the tokens that were read. Where they are equal a model
            cannot tell the texts apart.
    """

    vectors: NDArray[np.float32]
    cut: NDArray[np.bool_]
    digests: NDArray[np.bytes_]


class Embedder:
    """A model, ready to embed.

    Args:
        folder: the model: a sentence-transformers folder, a causal language model or an encoder.
        embedding: pooling, dtype and maximal length.
        batch_tokens: tokens of one forward pass, padding included.
        threads: for the arithmetic on a CPU.
        device: a torch device, as "cpu" or "cuda".

    Raises:
        ValueError: a sentence model has no pooling module that `embedding.pooling` could replace.
    """

    def __init__(
        self, folder: Path, embedding: Embedding, batch_tokens: int, threads: int, device: str
    ) -> None:
        torch.set_num_threads(threads)
        self._batch_tokens = batch_tokens
        dtype = {"dtype": getattr(torch, embedding.dtype)}
        if (folder / "modules.json").is_file():
            self._model = _sentence_model(folder, embedding.pooling, dtype, device)
        else:
            self._model = _plain_model(folder, embedding.pooling, dtype, device)
        limit = self._model.max_seq_length or embedding.max_length
        self._limit = min(limit, embedding.max_length)  # tokens
        self._model.max_seq_length = self._limit
        if embedding.keep == "end":
            self._model.tokenizer.truncation_side = "left"
        self._model.eval()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the unit vectors of at least one text, which are those that `read` gives."""
        return self.read(texts).vectors

    @torch.inference_mode()
    def read(self, texts: Sequence[str]) -> Reading:
        """Unit vectors of at least one text, in the order of the texts, and what was read of it.

        The batch that a text falls into changes its vector in the last bits only.
        """
        # `encode` would tokenise batch by batch, after a sort by characters.
        prompt = self._model.prompts.get(self._model.default_prompt_name or "")
        features = self._model.preprocess(list(texts), prompt=prompt)
        mask = features["attention_mask"]
        digests = _digests(features["input_ids"].numpy(), mask.numpy())
        cut = self._cut(texts, prompt or "", mask.sum(dim=1).numpy())
        left = self._model.tokenizer.padding_side == "left"
        batches = token_batches(mask.sum(dim=1).numpy(), self._batch_tokens)
        device = self._model.device
        features = {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in features.items()
        }
        parts = []
        for rows, width in batches:
            columns = slice(-width, None) if left else slice(width)
            batch = {
                name: value[rows, columns] if _is_token_table(value, mask) else value
                for name, value in features.items()
            }
            # In float32: rounded to bfloat16 they would not have length 1.
            vectors = self._model(batch)["sentence_embedding"].float()
            parts.append(torch.nn.functional.normalize(vectors, dim=1))
        order = np.concatenate([rows for rows, _ in batches])
        vectors = torch.cat(parts).cpu().numpy()
        return Reading(vectors[np.argsort(order)], cut, digests)

    def _cut(
        self, texts: Sequence[str], prompt: str, lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """(n,) which texts have more tokens than are read."""
        cut = lengths >= self._limit
        full = np.flatnonzero(cut)
        if len(full):  # one that just fills the window is not cut
            whole = self._model.tokenizer(
                [prompt + texts[int(row)] for row in full], truncation=False, verbose=False
            )
            cut[full] = [len(ids) > self._limit for ids in whole["input_ids"]]
        return cut


def token_batches(
    lengths: NDArray[np.int64], batch_tokens: int
) -> list[tuple[NDArray[np.int64], int]]:
    """Cut texts into batches of similar length, the longest first.

    Args:
        lengths: (n,) tokens of each text.
        batch_tokens: most tokens of a batch, padding included; a longer text is alone in its own.

    Returns:
        For each batch its texts, as positions in `lengths`, and the tokens of its longest.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = int(lengths[order[start]])
        size = max(1, batch_tokens // max(1, width))
        batches.append((order[start : start + size], width))
        start += size
    return batches


def _digests(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """(n,) of 16 bytes: BLAKE2b of the tokens of each text, padding left out."""
    joined = bytearray()
    for row, kept in zip(ids, mask.astype(bool), strict=True):
        joined += hashlib.blake2b(row[kept].tobytes(), digest_size=16).digest()
    return np.frombuffer(bytes(joined), dtype="S16")


def _is_token_table(value: Any, mask: torch.Tensor) -> bool:
    return torch.is_tensor(value) and value.shape[:2] == mask.shape


def _sentence_model(
    folder: Path, pooling: str, dtype: dict[str, Any], device: str
) -> SentenceTransformer:
    model = SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs=dict(dtype) | WEIGHTS,
    )
    if pooling != "auto":
        place = [isinstance(module, Pooling) for module in model].index(True)
        model[place] = Pooling(model[place].embedding_dimension, POOLINGS[pooling])
    return model


def _plain_model(
    folder: Path, pooling: str, dtype: dict[str, Any], device: str
) -> SentenceTransformer:
    """A model of transformers alone, with a pooling behind it."""
    if pooling == "auto":
        settings = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        architectures = settings.architectures or [""]
        causal = architectures[0].endswith("ForCausalLM")
        pooling = "weighted_mean" if causal else "mean"
    transformer = Transformer(
        str(folder),
        model_kwargs=dict(dtype) | WEIGHTS | OWN_CODE,
        config_kwargs=dict(OWN_CODE),
        processor_kwargs=dict(OWN_CODE),
        # Text only: a tokenizer with a chat template would otherwise wrap each text into it.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    if transformer.tokenizer.pad_token is None:
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    pool = Pooling(transformer.get_embedding_dimension(), POOLINGS[pooling])
    return SentenceTransformer(modules=[transformer, pool], device=device)
