"""Vectors that were made elsewhere, in the place of an embedding model: no text is read for them.

Each set of instances has a file of vectors and, perhaps, one of the ids of their rows. With ids the
vectors may be those of a larger set, in another order; without, row i is the vector of instance i
of the set, counted after leakage and limits have left instances out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from orchestrator.config.embedding import Embedding
from orchestrator.errors import DataError
from orchestrator.screen import Line
from orchestrator.stages.embed import EMBEDDED
from orchestrator.stages.mapped import new_vectors
from orchestrator.stages.matching import Given, file_of, matched_vectors
from orchestrator.stages.spec import Spec
from orchestrator.stages.vector_files import open_vectors, write_unit
from orchestrator.storage.artifacts import Artifact, file_digest
from orchestrator.storage.files import INSTANCES_FILE

OWN_VECTORS_VERSION = 1


def given_files(embedding: Embedding) -> list[Given]:
    """The files that a section names, set by set; none where a model embeds."""
    if embedding.vectors is None:
        return []
    found = []
    for split in EMBEDDED:
        prefix = "" if split == "pool" else f"{split}_"
        path, ids = getattr(embedding, f"{prefix}vectors"), getattr(embedding, f"{prefix}ids")
        if path is not None:
            keys = (f"embedding.{prefix}vectors", f"embedding.{prefix}ids")
            found.append(Given(split, keys[0], path, keys[1], ids))
    return found


def file_faults(embedding: Embedding) -> list[str]:
    """What is wrong with the files of own vectors, as far as no instance is needed to tell."""
    faults, opened = [], []
    for given in given_files(embedding):
        try:
            opened.append((given, open_vectors(file_of(given.path)).shape[1]))
        except DataError as error:
            faults.append(f"{given.key}: {error}")
        if given.ids_path is not None and not file_of(given.ids_path).is_file():
            faults.append(
                f"{given.ids_key}: {given.ids_path} is no file: give one with the id of each "
                "vector, relative to the study file or to the folder in which the command runs"
            )
    for given, dimensions in opened[1:]:
        first, wanted = opened[0]
        if dimensions != wanted:
            faults.append(
                f"{given.key}: {given.path} has {dimensions} dimensions, {first.path} {wanted}: "
                "embed both with the same model"
            )
    return faults


def own_vectors_spec(instances: Artifact, embedding: Embedding) -> Spec:
    """`vectors.npy` as that of `embeddings_spec`: float32 unit vectors in row order.

    The splits that the artifact remembers are those whose vectors are given; of each, as `own`, the
    rows of its file, what they were matched by and the file's SHA-256. Of each file the content
    counts, read here for its digest, and not its place.

    Raises:
        DataError: of files that cannot be read; while it is made, everything that is wrong with
            what they hold.
    """
    if faults := file_faults(embedding):
        raise DataError("\n".join(faults))
    files = given_files(embedding)
    splits = {given.split: instances.info["splits"][given.split]["instances"] for given in files}
    digests = {
        given.split: [
            file_digest(file_of(given.path)),
            None if given.ids_path is None else file_digest(file_of(given.ids_path)),
        ]
        for given in files
    }

    def make(folder: Path, line: Line) -> dict[str, Any]:
        info = _write_vectors(instances, files, splits, folder, line)
        for split, (vectors, _) in digests.items():
            info["own"][split]["sha256"] = vectors
        return info

    return Spec(
        kind="embeddings",
        key={"version": OWN_VECTORS_VERSION, "dataset": instances.digest, "own": digests},
        make=make,
        name="embeddings",
        describe=describe_own_vectors,
        total=sum(splits.values()),
        remarks=lambda info: _remarks(info, instances, files),
    )


def own_vectors_bytes(instances: Artifact, embedding: Embedding) -> int:
    """Bytes of the vectors that such an artifact holds.

    Raises:
        DataError: the file of the pool's cannot be read.
    """
    files, splits = given_files(embedding), instances.info["splits"]
    dimensions = open_vectors(file_of(files[0].path)).shape[1]
    return 4 * int(dimensions) * sum(splits[given.split]["instances"] for given in files)


def describe_own_vectors(info: Mapping[str, Any]) -> str:
    """What such an artifact remembers, in a few words."""
    own = info["own"]
    found = (
        f"{split.replace('_', '-')} by {own[split]['matched']} among {own[split]['rows']:,}"
        for split in EMBEDDED
        if split in own
    )
    return (
        f"{info['texts']:,} vectors of your own ({', '.join(found)}), "
        f"{info['dimensions']} dimensions"
    )


def _write_vectors(
    instances: Artifact, files: list[Given], splits: dict[str, int], folder: Path, line: Line
) -> dict[str, Any]:
    """Write `vectors.npy`; returns what the artifact remembers."""
    ids = pq.read_table(instances.path / INSTANCES_FILE, columns=["id"])["id"]
    ends = np.cumsum(list(splits.values())).tolist()
    stretches = [slice(first, end) for first, end in pairwise([0, *ends])]
    matched, faults = [], []
    for given, rows in zip(files, stretches, strict=True):
        try:
            matched.append(matched_vectors(given, ids[rows], _left_out(instances, given.split)))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    shape = (ends[-1], matched[0].vectors.shape[1])
    out = new_vectors(folder / "vectors.npy", shape)
    for each, rows in zip(matched, stretches, strict=True):
        write_unit(each.vectors, out[rows], each.unit, each.rows)
        line.update(rows.stop)
    out.flush()  # type: ignore[attr-defined]
    own = {
        given.split: {
            "rows": len(each.vectors),
            "matched": "row" if each.rows is None else "id",
        }
        for given, each in zip(files, matched, strict=True)
    }
    return {"texts": shape[0], "dimensions": shape[1], "splits": splits, "own": own}


def _remarks(
    info: Mapping[str, Any], instances: Artifact, files: list[Given]
) -> Iterator[tuple[str, str]]:
    """What is taken on trust, and what is not there."""
    for given in files:
        left_out = _left_out(instances, given.split)
        if info["own"][given.split]["matched"] == "row" and left_out:
            yield (
                "warning",
                f"embeddings: row i of {given.path} is taken as the vector of the i-th instance "
                f"of data.{given.split} that is kept{left_out}: where it is not, name the vectors "
                f"by {given.ids_key}",
            )
    if "held_out" in instances.info["splits"] and "held_out" not in info["splits"]:
        yield (
            "note",
            "embeddings: there are no vectors of data.held_out, so that its near duplicates are "
            "not looked for: give them as embedding.held_out_vectors",
        )


def _left_out(instances: Artifact, split: str) -> str:
    dropped = instances.info["splits"][split]["dropped"]
    words = ", ".join(f"{count:,} {why}" for why, count in dropped.items())
    return f" (left out: {words})" if words else ""
