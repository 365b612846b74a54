"""What is set aside on disk comes back as it was, and is not held in memory."""

import weakref

import numpy as np
import pyarrow as pa

from orchestrator.data.spool import Spool


def tables(sizes, alive):
    """Tables of so many rows with one another's numbers going on, and who of them still lives."""
    first = 0
    for size in sizes:
        numbers = list(range(first, first + size))
        table = pa.table({"id": [f"i{n}" for n in numbers], "text": [f"text {n}" for n in numbers]})
        alive.append(weakref.ref(table))
        yield table
        del table
        assert sum(one() is not None for one in alive) <= 1
        first += size


def test_a_spool_gives_back_its_rows_by_a_mask_in_order_and_holds_no_table(tmp_path):
    alive = []
    spool = Spool(tmp_path / "spool", tables([3, 0, 5, 1], alive))
    assert spool.rows == 9
    assert not any(one() for one in alive)
    assert pa.concat_tables(spool.tables()).equals(pa.concat_tables(tables([9], [])))
    mask = np.array([1, 0, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    assert [table["text"].to_pylist() for table in spool.tables(mask)] == [["text 0"], ["text 8"]]
    ids = [id for piece in spool.column("id") for id in piece.to_pylist()]
    assert ids == [f"i{n}" for n in range(9)]


def test_a_spool_of_nothing_gives_nothing(tmp_path):
    spool = Spool(tmp_path / "spool", iter([]))
    assert spool.rows == 0
    assert not list(spool.tables())
    assert not list(spool.column("id"))
