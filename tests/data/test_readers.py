"""Readers keep order and identity, count what they leave out, and name what they cannot read."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest

from orchestrator.config.schema import BuiltinSource, Data, JsonlSource
from orchestrator.data import dataset
from orchestrator.data.readers import fingerprint, read
from orchestrator.errors import DataError


@pytest.fixture
def jsonl(tmp_path):
    def make(records, name="rows.jsonl", **options):
        path = tmp_path / name
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        path.write_bytes(b"\n".join(lines) + b"\n")
        return JsonlSource(reader="jsonl", path=str(path), **options)

    return make


def row(number, task="t", prompt=None, completion="yes"):
    prompt = f"question {number}" if prompt is None else prompt
    return {"id": f"i{number}", "task": task, "prompt": prompt, "completion": completion}


def test_instances_come_in_file_order_with_their_text(jsonl):
    found = list(read(jsonl([row(i) for i in (2, 0, 1)]), Counter()))
    assert [i.id for i in found] == ["i2", "i0", "i1"]
    assert [m["content"] for m in found[0].messages] == ["question 2", "yes"]


def test_what_is_left_out_is_counted_by_reason(jsonl):
    records = [row(0), row(1, prompt=" "), row(2, prompt="x" * 100), row(3), row(4, task="u")]
    dropped = Counter()
    found = list(read(jsonl(records, max_chars=50, max_per_task=1), dropped))
    assert [i.id for i in found] == ["i0", "i4"]
    assert dropped == {
        "empty prompt or answer": 1,
        "longer than 50 characters": 1,
        "beyond 1 of its task": 1,
    }


def test_other_column_names_are_read_through_fields(jsonl):
    record = {"key": 7, "kind": "t", "question": "q", "answer": "a"}
    fields = {"id": "key", "task": "kind", "prompt": "question", "completion": "answer"}
    (found,) = read(jsonl([record], fields=fields), Counter())
    assert (found.id, found.task) == ("7", "t")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"{not json", "not a line of JSON"),
        (b'{"id": "\xff"}', "not a line of JSON in UTF-8"),
        (b"[1, 2]", "a list instead of an object"),
        ({"id": "x", "task": "t", "prompt": "p"}, "'completion' is missing"),
        ({"id": "x", "task": "t", "prompt": 3, "completion": "c"}, "'prompt' is 3"),
        (row(0), "comes twice"),
    ],
)
def test_a_bad_record_is_refused_with_its_place(jsonl, bad, said):
    source = jsonl([row(0), bad])
    with pytest.raises(DataError) as error:
        list(read(source, Counter()))
    assert said in str(error.value)
    assert "rows.jsonl" in str(error.value)


def test_the_fingerprint_follows_the_bytes_of_the_file_and_not_its_place(jsonl):
    one = jsonl([row(0)], "one.jsonl")
    same, other = jsonl([row(0)], "two.jsonl"), jsonl([row(1)], "three.jsonl")
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    pool, query = (fingerprint(BuiltinSource(reader="builtin", split=s)) for s in ("pool", "query"))
    assert pool["content"] != query["content"]


@pytest.mark.parametrize("policy", ["error", "drop", "allow"])
def test_test_items_in_the_pool_are_refused_dropped_or_counted(jsonl, tmp_path, policy):
    pool = jsonl(
        [row(0, "a"), row(1, "shared"), row(2, "a", prompt="Same  QUESTION")], "pool.jsonl"
    )
    query = jsonl([row(5, "shared"), row(6, "b", prompt="same question")], "query.jsonl")
    data = Data(pool=pool, query=query, leakage=policy)
    if policy == "error":
        with pytest.raises(DataError, match=r"data\.leakage: drop"):
            dataset.write(data, tmp_path)
        return
    info = dataset.write(data, tmp_path)
    assert info["leakage"] == {"task shared with query": 1, "prompt shared with query": 1}
    kept = pq.read_table(tmp_path / "instances.parquet").to_pandas()
    pool_ids = kept["id"][kept["split"] == "pool"].tolist()
    assert pool_ids == (["i0"] if policy == "drop" else ["i0", "i1", "i2"])
    assert kept["row"].tolist() == list(range(len(kept)))
