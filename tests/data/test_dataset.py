"""The table of all splits numbers its rows through, however it is written."""

import pyarrow.parquet as pq
import pytest

from orchestrator.config.sources import Data
from orchestrator.data import dataset
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
