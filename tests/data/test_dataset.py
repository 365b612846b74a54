"""The table of all splits numbers its rows through, however it is written."""

from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.sources import Data
from orchestrator.data import dataset
from orchestrator.data.table import MESSAGE
from orchestrator.stages.dataset import describe_dataset
from tests.data.conftest import row


@pytest.mark.parametrize(("limit", "groups"), [("WRITE_ROWS", 3), ("WRITE_BYTES", 2)])
def test_rows_are_numbered_through_splits_and_batches(jsonl, tmp_path, monkeypatch, limit, groups):
    monkeypatch.setattr(dataset, limit, 3)
    pool = jsonl([row(i, "a") for i in range(4)], "pool.jsonl")
    query = jsonl([row(9, "b")], "query.jsonl")
    dataset.write(Data(pool=pool, query=query), tmp_path)
    file = pq.ParquetFile(tmp_path / "instances.parquet")
    table = file.read().to_pydict()
    assert table["row"] == [0, 1, 2, 3, 4]
    assert table["id"] == ["i0", "i1", "i2", "i3", "i9"]
    assert table["split"] == ["pool"] * 4 + ["query"]
    assert file.num_row_groups == groups
    texts = [dataset.embedding_text(messages) for messages in dataset.load_messages(tmp_path)]
    assert texts == [f"question {i} yes" for i in (0, 1, 2, 3, 9)]
    messages = next(dataset.load_messages(tmp_path))
    assert dataset.embedding_text([*messages, *messages], "prompt") == "question 0 question 0"
    assert dataset.embedding_text(messages, "answer") == "yes"


@pytest.mark.scenario("duplicates")
@pytest.mark.parametrize("batch", [10_000, 2])
def test_texts_that_come_again_in_a_split_are_counted_and_told(jsonl, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(dataset, "WRITE_ROWS", batch)
    said = ["one", "two", "one", "three", "one", "two"]
    pool = [row(number, "a", text) for number, text in enumerate(said)]
    pool += [row(6, "b", "one"), row(7, "a", "one", "no")]  # another task, another answer
    query = [row(8, "q", "asked"), row(9, "q", "asked of others")]
    data = Data(pool=jsonl(pool, "pool.jsonl"), query=jsonl(query, "query.jsonl"))
    info = dataset.write(data, tmp_path)
    assert {name: split["repeated"] for name, split in info["splits"].items()} == {
        "pool": 4, "query": 0,
    }  # fmt: skip
    assert describe_dataset(info) == "pool 8 (4 with the text of another), query 2"


def test_memory_does_not_grow_with_the_rows_that_are_read_again(tmp_path):
    """80 row groups of 500 texts of a kilobyte, as messages in order and as those of some rows."""
    random = Random(0)
    kinds = {"row": pa.int64(), "messages": pa.list_(MESSAGE)}
    with pq.ParquetWriter(tmp_path / "instances.parquet", pa.schema([*kinds.items()])) as writer:
        for group in range(80):
            said = [random.randbytes(500).hex() for _ in range(500)]
            rows = [[{"role": "user", "content": text}] for text in said]
            columns = {"row": range(500 * group, 500 * (group + 1)), "messages": rows}
            writer.write_table(pa.table({k: pa.array(columns[k], kinds[k]) for k in kinds}))
    some = np.arange(0, 40_000, 7)
    for messages in (dataset.load_messages(tmp_path), dataset.load_messages_of(tmp_path, some)):
        before = pa.total_allocated_bytes()
        held = max(pa.total_allocated_bytes() - before for _ in messages)
        assert held < 8e6  # of 40 MB
