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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.embedding import Embedding
from orchestrator.data.digests import DIGEST_BYTES, Digests
from orchestrator.stages.mapped import blocks, load_array, new_vectors
from orchestrator.stages.numbered import NumberedDigests
from orchestrator.storage.artifacts import commit, scratch_beside, sound
from orchestrator.storage.disk import writing

VECTORS_VERSION = 1
# A part is committed when it holds this much, or after this long: what a kill can cost of what has
# arrived.
PART_BYTES = 64 * 2**20
PART_SECONDS = 30.0

Vectors = NDArray[np.float32]  # (n, d)
# Whether a text is longer than what was read of it, and the digest of that.
READING = np.dtype([("cut", np.bool_), ("read", np.int64, (2,))])
Readings = NDArray[np.void]  # (n,) of READING
Located = tuple[Path, NDArray[np.int64], NDArray[np.int64]]  # a part, rows, places in the part


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

    Attributes:
        folder: of the parts; files without a name lie on its disk while digests are looked up.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        part = self.folder / name
        with scratch_beside(part) as temporary:
            np.save(temporary / "digests.npy", digests)
            np.save(temporary / "vectors.npy", vectors)
            np.save(temporary / "read.npy", readings)
            commit(temporary, part, {"kind": "vectors", "texts": len(digests)})

    def count(self) -> int:
        """How many vectors are committed."""
        return sum(len(load_array(part / "digests.npy")) for part in self._parts())

    def held(self, digests: Digests) -> NDArray[np.bool_]:
        """(n,) which texts have a committed vector."""
        table = self._table(self._parts())
        held = np.empty(len(digests), np.bool_)
        for block in blocks(len(digests)):
            held[block] = table.find(digests[block]) >= 0
        return held

    def readings(self, digests: Digests) -> Iterator[tuple[slice, Readings, NDArray[np.bool_]]]:
        """What was read of texts, all of them held, block by block: for each the rows of the block,
        what was read, (rows,), and of which of them that is known.

        Of parts from before this was kept it is not: they count as uncut, and as told apart.
        """
        for block, located in self._located(digests):
            readings = np.empty(block.stop - block.start, READING)
            known = np.empty(len(readings), np.bool_)
            for part, rows, places in located:
                path = part / "read.npy"
                known[rows] = path.is_file()
                if path.is_file():
                    readings[rows] = load_array(path)[places]
                else:
                    own = np.ascontiguousarray(digests[block][rows])
                    readings["cut"][rows] = False
                    readings["read"][rows] = own.view(np.int64).reshape(-1, 2)
            yield block, readings, known

    def gather(self, digests: Digests, path: Path) -> Vectors:
        """Write the vectors of texts, all of them held and at least one, to a .npy file.

        Returns:
            The memory map of the file: (n, d), a row for each digest, in their order.
        """
        dimensions = load_array(self._parts()[0] / "vectors.npy").shape[1]
        gathered = new_vectors(path, (len(digests), dimensions))
        for block, located in self._located(digests):
            for part, rows, places in located:
                gathered[block.start + rows] = load_array(part / "vectors.npy")[places]
        gathered.flush()  # type: ignore[attr-defined]
        return gathered

    def _located(self, digests: Digests) -> Iterator[tuple[slice, list[Located]]]:
        """Where texts are held: of each block of them the parts, with the rows of the block that
        they hold, and the places of these in the part, rising."""
        # Listed once: another process may commit a part meanwhile.
        parts = self._parts()
        table = self._table(parts)
        ends = np.cumsum([len(load_array(part / "digests.npy")) for part in parts])
        begins = [0, *ends[:-1].tolist()]
        for block in blocks(len(digests)):
            numbers = table.find(digests[block])
            rows = np.argsort(numbers, kind="stable")
            of_part = np.split(rows, np.searchsorted(numbers[rows], ends[:-1]))
            yield (
                block,
                [
                    (part, here, numbers[here] - begin)
                    for part, here, begin in zip(parts, of_part, begins, strict=True)
                    if len(here)
                ],
            )

    def _table(self, parts: list[Path]) -> NumberedDigests:
        """The digests of parts, in their order."""
        tables = [part / "digests.npy" for part in parts]
        count = sum(len(load_array(path)) for path in tables)
        with writing(self.folder):
            return NumberedDigests(map(np.load, tables), count, self.folder)

    def _parts(self) -> list[Path]:
        return sorted(part for part in self.folder.iterdir() if not part.name.startswith("."))
