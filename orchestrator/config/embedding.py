"""The `embedding` section: how instances become the vectors that an arrangement goes by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from orchestrator.config.gradients import Gradients
from orchestrator.config.path import TargetPath
from orchestrator.config.section import Section, later

# Keys of vectors that were made elsewhere, and keys that say how a model makes some.
OWN_VECTORS = frozenset(
    {"vectors", "ids", "query_vectors", "query_ids", "held_out_vectors", "held_out_ids"}
)
READING = frozenset({"pooling", "gradient", "path", "dtype", "max_length", "text", "keep"})


OF_TOKENS = ("gradient", "path")  # poolings of what the trained model is fed, answers marked
TRAINED = "trained"  # as the name of a model that embeds: the one that the trial trains


class Embedding(Section):
    """How instances become the vectors whose distances an arrangement goes by: a model reads their
    texts, or `vectors` brings those that you have already."""

    model: str = "all-MiniLM-L6-v2"
    """A sentence-transformers model, or a causal LM; trained: the one of `model.name`, whichever
    that is. Not read where `vectors` is given."""
    pooling: Literal["auto", "mean", "weighted_mean", "gradient", "path"] = "auto"
    """auto: what the model was made with; of a causal LM weighted_mean, over the last hidden states
    with weights that rise with the position (RDS+, arXiv 2503.01807). gradient: what an instance
    would teach the model, which has to be a causal LM, as the one that is trained. path: how far
    its loss falls while such a model learns the queries, which only data.held_out can judge."""
    gradient: Gradients = later(Gradients())
    """Of `pooling: gradient`."""
    path: TargetPath = later(TargetPath())
    """Of `pooling: path`."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in."""
    max_length: PositiveInt = 256
    """Tokens of a text that are read; of gradient and path as many as `model.max_length`, where it
    is not given. More than a quarter of texts cut is warned of."""
    text: Literal["prompt", "answer", "both"] = "both"
    """Of an instance; both: "prompt answer". Where system and tool turns are kept, they count as
    prompt. More than 1% of texts that share a vector is warned of."""
    keep: Literal["start", "end"] = "start"
    """Which part of a text longer than max_length is read."""
    batch_tokens: PositiveInt | None = None
    """Padded tokens in one forward pass; null: 1,024 on a CPU, 16,384 on a GPU."""
    workers: PositiveInt = 1
    """Ray Data actors."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """GPUs, or a share of one, for each of them."""
    vectors: str | None = None
    """Your own vectors of the pool in the place of a model: a .npy file of floating-point numbers,
    (rows, dimensions), scaled to length one where they are not."""
    ids: str | None = None
    """The id of each row of vectors: a file of one id a line, of JSON, Parquet or Arrow records
    with an `id`, or a .npy file of strings; other rows than the pool's are passed over. null: row i
    is the i-th instance that is kept of the pool."""
    query_vectors: str | None = None
    """The same of the query set, from the same model."""
    query_ids: str | None = None
    """The ids of their rows."""
    held_out_vectors: str | None = None
    """The same of the held-out set; null: its near duplicates are not looked for."""
    held_out_ids: str | None = None
    """The ids of their rows."""

    @model_validator(mode="after")
    def _from_a_model_or_given(self) -> Embedding:
        given = [key for key in sorted(OWN_VECTORS) if getattr(self, key) is not None]
        lacking = [key for key in ("vectors", "query_vectors") if key not in given]
        if given and lacking:
            raise ValueError(
                f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for vectors of your "
                f"own, of the pool and of the query set: give {' and '.join(lacking)}, or leave "
                f"{' and '.join(given)} out"
            )
        if not given:
            self._check_pooling()
            return self
        if self.held_out_ids is not None and self.held_out_vectors is None:
            raise ValueError("held_out_ids names the rows of held_out_vectors: give it, too")
        if unread := self._said(READING):
            raise ValueError(
                f"vectors are given, so that no model reads texts as {' and '.join(unread)} "
                f"{'says' if len(unread) == 1 else 'say'}: leave "
                f"{'it' if len(unread) == 1 else 'them'} out"
            )
        return self

    @property
    def of_tokens(self) -> bool:
        """Whether vectors are made of what a model is fed in training, and not of texts."""
        return self.pooling in OF_TOKENS

    def _said(self, keys: Collection[str]) -> list[str]:
        """Those of the keys that were given and are not at their defaults.

        The study that a run leaves in its folder gives every key.
        """
        fields = type(self).model_fields
        given = sorted(self.model_fields_set.intersection(keys))
        return [
            key
            for key in given
            if getattr(self, key) != fields[key].get_default(call_default_factory=True)
        ]

    def _check_pooling(self) -> None:
        """Refuse keys that say nothing with this pooling."""
        sections = {"gradient", "path"} - {self.pooling}
        foreign = sections | {"text", "keep"} if self.of_tokens else sections
        if unread := self._said(foreign):
            raise ValueError(
                f"pooling: {self.pooling} does not read {' and '.join(unread)}: leave "
                f"{'it' if len(unread) == 1 else 'them'} out"
                + (f", or set pooling: {unread[0]}" if unread[0] in sections else "")
            )

    @model_serializer(mode="wrap")
    def _without_unread_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What a trial's key is made of: with own vectors no model, without them none of them."""
        own = self.vectors is not None
        return {key: value for key, value in handler(self).items() if (key in OWN_VECTORS) == own}
