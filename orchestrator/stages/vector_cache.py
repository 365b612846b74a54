"""Vectors by the content of their text, so that no text is embedded twice.

A cache belongs to one model under one set of settings. It grows by parts: each a folder with
`digests.npy`, `vectors.npy` and `read.npy`, complete or absent, never changed afterwards. A killed
run loses what it had not committed; a damaged part is removed, and its texts count as missing
again.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.data.digests import DIGEST_BYTES, Digests
from orchestrator.stages.vector_files import new_vectors
from orchestrator.storage.artifacts import commit, scratch_beside, sound

VECTORS_VERSION = 1
# A part is committed when it holds this much, or after this long: what a kill can cost.
PART_BYTES = 64 * 2**20
PART_SECONDS = 30.0

Vectors = NDArray[np.float32]  # (n, d)
# Whether a text is longer than what was read of it, and the digest of that.
READING = np.dtype([("cut", np.bool_), ("read", np.int64, (2,))])
Readings = NDArray[np.void]  # (n,) of READING


def vectors_key(model_digest: str, embedding: Embedding) -> dict[str, Any]:
    """All that decides the vector of a text. Batches and workers only decide its speed."""
    settings = embedding.model_dump(include={"pooling", "dtype", "max_length"})
    if embedding.keep != "start":  # vectors from before it could be chosen are of starts
        settings["keep"] = embedding.keep
    return {"version": VECTORS_VERSION, "model": model_digest, **settings}


class VectorCache:
    """The parts in a folder, which is created when missing.

    Several processes may add at once: a text that two of them embedded is held twice, and one
    of the two vectors is used for all its occurrences.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._pending: list[tuple[Digests, Vectors, Readings]] = []
        self._committed = time.monotonic()
        for part in self._parts():
            if not sound(part):
                shutil.rmtree(part)

    def add(
        self, digests: Digests, vectors: Vectors, cut: NDArray[np.bool_], read: NDArray[np.int64]
    ) -> None:
        """Take vectors in; they are held for sure only after `flush`.

        Args:
            digests: (n,) of the texts.
            vectors: (n, d) of them.
            cut: (n,) which texts are longer than what was read of them.
            read: (n, 2) digest of what was read.
        """
        readings = np.empty(len(digests), READING)
        readings["cut"], readings["read"] = cut, read
        self._pending.append((digests, np.array(vectors, dtype=np.float32), readings))
        size = sum(vectors.nbytes for _, vectors, _ in self._pending)
        if size >= PART_BYTES or time.monotonic() - self._committed >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commit as a part what was added since the last one."""
        self._committed = time.monotonic()
        if not self._pending:
            return
        digests, vectors, readings = (
            np.concatenate(column) for column in zip(*self._pending, strict=True)
        )
        self._pending = []
        name = hashlib.blake2b(digests.tobytes(), digest_size=DIGEST_BYTES).hexdigest()
        part = self._folder / name
        with scratch_beside(part) as temporary:
            np.save(temporary / "digests.npy", digests)
            np.save(temporary / "vectors.npy", vectors)
            np.save(temporary / "read.npy", readings)
            commit(temporary, part, {"kind": "vectors", "texts": len(digests)})

    def count(self) -> int:
        """How many vectors are committed."""
        parts = self._parts()
        return sum(len(np.load(part / "digests.npy", mmap_mode="r")) for part in parts)

    def held(self, digests: Digests) -> NDArray[np.bool_]:
        """(n,) which texts have a committed vector."""
        parts = [np.load(part / "digests.npy") for part in self._parts()]
        if not parts:
            return np.zeros(len(digests), bool)
        # Not np.isin, which holds 150 bytes a text meanwhile.
        known = np.sort(np.concatenate(parts))
        places = np.searchsorted(known, digests)
        held: NDArray[np.bool_] = known[np.minimum(places, len(known) - 1)] == digests
        return held

    def readings(self, digests: Digests) -> tuple[Readings, NDArray[np.bool_]]:
        """What was read of texts, all of them held: (n,), and (n,) of which it is known.

        Of parts from before this was kept it is not: they count as uncut, and as told apart.
        """
        tables, readings, known = [], [], []
        for part in self._parts():
            table = np.load(part / "digests.npy")
            path = part / "read.npy"
            unknown = np.zeros(len(table), READING)
            unknown["read"] = np.ascontiguousarray(table).view(np.int64).reshape(-1, 2)
            tables.append(table)
            readings.append(np.load(path, allow_pickle=False) if path.is_file() else unknown)
            known.append(np.full(len(table), path.is_file()))
        whole = np.concatenate(tables)
        order = np.argsort(whole, kind="stable")
        places = order[np.searchsorted(whole, digests, sorter=order)]
        return np.concatenate(readings)[places], np.concatenate(known)[places]

    def gather(self, digests: Digests, path: Path) -> Vectors:
        """Write the vectors of texts, all of them held and at least one, to a .npy file.

        Every part is read once, and only one at a time.

        Returns:
            The memory map of the file: (n, d), a row for each digest, in their order.
        """
        parts = self._parts()
        tables = [np.load(part / "digests.npy") for part in parts]
        known = np.concatenate(tables)
        order = np.argsort(known, kind="stable")
        places = order[np.searchsorted(known, digests, sorter=order)]
        # Rows by the place of their vector: those of one part stand together.
        rows = np.argsort(places, kind="stable")
        starts = np.cumsum([0, *map(len, tables)])
        cuts = np.searchsorted(places[rows], starts)
        dimensions = np.load(parts[0] / "vectors.npy", mmap_mode="r").shape[1]
        gathered = new_vectors(path, (len(digests), dimensions))
        for number, part in enumerate(parts):
            chosen = rows[cuts[number] : cuts[number + 1]]
            vectors = np.load(part / "vectors.npy", mmap_mode="r", allow_pickle=False)
            gathered[chosen] = vectors[places[chosen] - starts[number]]
        gathered.flush()  # type: ignore[attr-defined]
        return gathered

    def _parts(self) -> list[Path]:
        return sorted(part for part in self._folder.iterdir() if not part.name.startswith("."))
