"""What an estimate reads itself, because it is small: data in seconds, into a folder that goes."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from orchestrator.config.embedding import Embedding
from orchestrator.config.sources import Data, FileSource, SourceOptions
from orchestrator.data.records.files import files
from orchestrator.errors import DataError
from orchestrator.screen import Screen
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact, build
from orchestrator.storage.files import INSTANCES_FILE

READ_BYTES = 32 * 2**20  # of all sources together: a few seconds
TOKENISED_ROWS = 5_000  # some seconds of a core
# English text under the vocabularies of language models; of a model that is here rows are counted.
CHARACTERS_A_TOKEN = 4


def is_small(data: Data) -> bool:
    """Whether all sources are read in seconds, and without a network."""
    given = [*data.pool_sources.values(), *data.test_sets.values()]
    sources = [source for source in given if isinstance(source, SourceOptions)]
    return sum(map(_size, sources)) <= READ_BYTES


def own_vectors_are_small(embedding: Embedding) -> bool:
    """Whether a study brings vectors, in files that are compared with its data in seconds."""
    given = [embedding.vectors, embedding.query_vectors]
    return None not in given and sum(Path(str(f)).stat().st_size for f in given) <= READ_BYTES


def made_in(scratch: Path, spec: Spec) -> Artifact:
    """The artifact of a spec, made in a folder that is not the store; nobody is told meanwhile.

    Raises:
        UserError: what the spec's maker refuses.
    """
    line = Screen(Console(file=io.StringIO())).line(spec.name, spec.total)
    made = build(scratch, spec.kind, spec.key, lambda folder: spec.make(folder, line))
    return replace(made, reused=False)


@cache  # trials share it
def mean_tokens(dataset: Path) -> int:
    """About how many tokens a row has, by the characters of the first rows of a data set."""
    rows = pq.ParquetFile(dataset / INSTANCES_FILE).read_row_group(0, ["messages"])
    texts = pc.struct_field(pc.list_flatten(rows["messages"]), "content")
    return math.ceil(pc.sum(pc.utf8_length(texts)).as_py() / len(rows) / CHARACTERS_A_TOKEN)


def _size(source: SourceOptions) -> float:
    """Bytes of a source's files; infinitely many of what is not in files of this machine."""
    if source.reader == "builtin":
        return 0
    if not isinstance(source, FileSource):
        return math.inf
    try:
        return sum(file.path.stat().st_size for file in files(source.path))
    except DataError:  # its reader says so in its own words
        return 0
