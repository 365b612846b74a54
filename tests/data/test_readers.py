"""Readers keep order and identity, count what they leave out, and name what they cannot read."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from orchestrator.config.sources import READERS, Source
from orchestrator.data.readers import describe, fingerprint
from orchestrator.errors import DataError
from tests.data.conftest import contents, read_all, row, source

TURNS = [
    {"from": "human", "value": "Hello"},
    {"from": "gpt", "value": "Hi"},
    {"from": "human", "value": "More?"},
    {"from": "gpt", "value": "No"},
]
BAD = {
    "not JSON": b'{"id": }',
    "invalid UTF-8": b'{"id": "\xff"}',
    "nested too deeply": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number has too many digits": b'{"a": ' + b"9" * 5000 + b"}",
    "not an object": b"[1, 2]",
    "column of the completion is missing": {"id": "x", "task": "t", "prompt": "p"},
    "prompt is not text": row(9, prompt=3),
    "prompt is missing": {**row(9), "prompt": None},
    "prompt is empty": row(9, prompt=" \n"),
    "answer is empty": row(9, completion=""),
    "prompt holds a NUL": row(9, prompt="a\0b"),
    "answer holds a lone surrogate": row(9, completion="a\ud800b"),
    "id is empty": {**row(9), "id": ""},
    "task is not text": {**row(9), "task": ["t"]},
    "id comes twice": row(0),
    "longer than 16 MiB": row(9, prompt="x" * 50_000_000),
}


MISSING_COLUMN = "column of the completion is missing"  # said only where columns have names


def refused_or_skipped(reader, path, place, reason):
    with pytest.raises(DataError) as error:
        read_all(source(reader, path=path))
    message = str(error.value)
    assert place in message
    assert reason in message
    assert "bad_records: skip" in message
    assert len(message) < 1000
    message.encode()  # a terminal can print it

    found, counts = read_all(source(reader, path=path, bad_records="skip"))
    assert [instance.id for instance in found] == ["i0", "i1"]
    assert counts.dropped == {reason: 1}


@pytest.mark.scenario("duplicates", "bad-records", "bad-bytes", "limits")
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@pytest.mark.parametrize("reason", BAD)
def test_a_bad_line_is_refused_with_its_place_or_skipped_and_counted(write, name, reason):
    path = write(name, [row(0), BAD[reason], row(1)])
    refused_or_skipped("jsonl", path, f"{name}:2: ", reason)


@pytest.mark.scenario("bad-records", "bad-bytes")
@pytest.mark.parametrize("name", ["rows.json", "rows.json.gz"])
@pytest.mark.parametrize("reason", sorted(BAD.keys() - {MISSING_COLUMN}))
def test_a_bad_record_of_an_array_is_refused_or_skipped_likewise(write, name, reason):
    names = {"prompt": "inputs_pretokenized", "completion": "targets_pretokenized"}
    records = [
        each if isinstance(each, bytes) else {names.get(key, key): each[key] for key in each}
        for each in (row(0), BAD[reason], row(1))
    ]
    refused_or_skipped("p3", write(name, records), f"{name} record 2 at byte 9", reason)


@pytest.mark.scenario("duplicates", "bad-records")
@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("prompt is missing", {"prompt": None}),
        ("prompt is empty", {"prompt": ""}),
        ("answer holds a NUL", {"completion": "\0"}),
        ("id comes twice", {"id": "i0"}),
        ("longer than 16 MiB", {"prompt": "x" * 50_000_000}),
    ],
)
def test_a_bad_row_of_parquet_is_refused_or_skipped_likewise(write, reason, changed):
    path = write("rows.parquet", [row(0), {**row(9), **changed}, row(1)])
    refused_or_skipped("parquet", path, "rows.parquet row 2: ", reason)


def test_the_table_holds_the_readers_that_a_study_file_can_name():
    mapping = TypeAdapter(Source).json_schema()["discriminator"]["mapping"]
    assert set(READERS) == mapping.keys()


def test_instances_come_in_file_order_with_their_text(jsonl):
    found, _ = read_all(jsonl([row(i) for i in (2, 0, 1)]))
    assert [i.id for i in found] == ["i2", "i0", "i1"]
    assert contents(found[0]) == ["question 2", "yes"]


@pytest.mark.parametrize(
    ("reader", "name"),
    [("jsonl", "a.jsonl"), ("jsonl", "a.jsonl.gz"), ("parquet", "a.parquet")],
)
def test_columns_are_read_through_fields(write, reader, name):
    path = write(name, [{"key": 7, "kind": "t", "question": "q", "answer": "a"}])
    fields = {"id": "key", "task": "kind", "prompt": "question", "completion": "answer"}
    ((found,), _) = read_all(source(reader, path=path, fields=fields))
    assert (found.id, found.task, contents(found)) == ("7", "t", ["q", "a"])

    fields = {**fields, "id": None, "task": None}
    ((found,), _) = read_all(source(reader, path=path, fields=fields))
    assert (found.id, found.task) == ("a-1", "unlabelled")

    with pytest.raises(DataError, match=r"there is no 'prompt', but 'answer', 'key'.*prompt: \.\."):
        read_all(source(reader, path=path, fields={**fields, "prompt": "prompt"}))


@pytest.mark.parametrize(("reader", "name"), [("jsonl", "a.jsonl"), ("parquet", "a.parquet")])
def test_a_column_of_messages_takes_the_place_of_prompt_and_completion(write, reader, name):
    path = write(name, [{"id": "x", "task": "t", "chat": TURNS}])
    made = source(reader, path=path, fields={"messages": "chat"}, max_turns=2)
    ((found,), _) = read_all(made)
    assert contents(found) == ["Hello", "Hi", "More?", "No"]


def test_flan_mini_keeps_the_tasks_of_its_split(write, tmp_path):
    def record(number, task):
        return {"id": str(number), "source": task, "conversations": TURNS}

    path = write("flan.json", [record(0, "a"), record(1, "b"), record(2, "a")])
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"train_key_list": ["a"], "eval_key_list": ["b"]}))
    found, _ = read_all(source("flan_mini", path=path))
    assert [(i.id, i.task, contents(i)) for i in found][1] == ("1", "b", ["Hello", "Hi"])

    for split, ids in {"train": ["0", "2"], "eval": ["1"]}.items():
        made = source("flan_mini", path=path, keys=str(keys), split=split)
        found, counts = read_all(made)
        assert [i.id for i in found] == ids
        assert counts.dropped == {"task of the other split": 3 - len(ids)}
        before = fingerprint(made)
        keys.write_text(keys.read_text() + " ")
        assert fingerprint(made) != before

    keys.write_text('{"train_key_list": "a"}')
    with pytest.raises(DataError, match="no list of tasks under train_key_list"):
        read_all(source("flan_mini", path=path, keys=str(keys), split="train"))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_p3_takes_the_task_from_the_record_or_the_folder_or_the_file(write, tmp_path, suffix):
    record = {"inputs_pretokenized": "Is it so?\n", "targets_pretokenized": "\nYes"}
    write(f"p3/ag_news/train/0.{suffix}", [record])
    write(f"p3/train/imdb.{suffix}", [record])
    write(f"p3/test/imdb.{suffix}", [record])
    write(f"p3/train/mixed.{suffix}", [{**record, "task": "named"}, {**record, "task": "other"}])
    found, _ = read_all(source("p3", path=str(tmp_path / "p3"), split="train"))
    assert [(i.id, i.task) for i in found] == [
        ("ag_news/train/0-1", "ag_news"),
        ("train/imdb-1", "imdb"),
        ("train/mixed-1", "named"),
        ("train/mixed-2", "other"),
    ]
    assert contents(found[0]) == ["Is it so?", "Yes"]
    with pytest.raises(DataError, match="none of its 4 files is below or named after split dev"):
        read_all(source("p3", path=str(tmp_path / "p3"), split="dev"))


@pytest.mark.parametrize("suffix", ["jsonl", "json.gz", "parquet"])
@pytest.mark.parametrize("key", ["items", "conversations"])
def test_sharegpt_has_no_tasks(write, key, suffix):
    path = write(f"share.{suffix}", [{"id": "x", key: TURNS}, {"id": "y", key: TURNS}])
    found, counts = read_all(source("sharegpt", path=path))
    assert [(i.id, i.task) for i in found] == [("x", "unlabelled"), ("y", "unlabelled")]
    assert counts.notes == {"turns beyond max_turns left off": 2}


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_no_robots_takes_the_category_as_task_and_ultrachat_none(write, suffix):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path = write(f"a.{suffix}", [{"prompt_id": "p", "messages": turns, "category": "Coding"}])
    for reader, task in {"no_robots": "Coding", "ultrachat": "unlabelled"}.items():
        ((found,), _) = read_all(source(reader, path=path))
        assert (found.id, found.task, contents(found)) == ("p", task, ["q", "a"])


def test_a_folder_and_a_pattern_are_read_sorted_and_without_hidden_files(write, tmp_path):
    for number, name in enumerate(["d/b.jsonl", "d/a/c.jsonl", "d/.cache/x.jsonl", "d/.x.jsonl"]):
        write(name, [row(number)])
    (tmp_path / "d" / "README.md").write_text("# no data")
    folder, pattern = str(tmp_path / "d"), str(tmp_path / "d" / "**" / "*.jsonl")
    for path in (folder, pattern):
        found, _ = read_all(source("jsonl", path=path))
        assert [i.id for i in found] == ["i1", "i0"]
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (str(empty), str(tmp_path / "none.jsonl"), str(tmp_path / "*.csv")):
        with pytest.raises(DataError, match=r"Give a file, a folder or a pattern"):
            read_all(source("jsonl", path=path))


def test_a_file_that_is_named_is_read_whatever_its_suffix(write):
    path = Path(write("a.jsonl", [row(0)]))
    path = path.rename(path.with_name("c.txt"))
    assert len(read_all(source("jsonl", path=str(path)))[0]) == 1


def test_the_fingerprint_follows_names_bytes_and_options_and_not_the_place(jsonl, tmp_path):
    one = jsonl([row(0)], "x/one.jsonl")
    same, other = jsonl([row(0)], "y/one.jsonl"), jsonl([row(1)], "z/one.jsonl")
    renamed = jsonl([row(0)], "x/two.jsonl")  # ids may come from the name
    assert fingerprint(one) == fingerprint(same)
    limited = one.model_copy(update={"max_chars": 3})
    different = [fingerprint(each) for each in (one, other, renamed, limited)]
    assert len({json.dumps(each) for each in different}) == 4
    pool, query = (fingerprint(source("builtin", split=s)) for s in ("pool", "query"))
    assert pool["content"] != query["content"]
    shutil.rmtree(tmp_path / "x")
    with pytest.raises(DataError, match=r"one\.jsonl: no such file"):
        fingerprint(one)


def test_a_source_is_described_by_reader_and_place():
    assert describe(source("jsonl", path="data/a.jsonl")) == "jsonl data/a.jsonl"
    assert describe(source("builtin", split="pool")) == "builtin pool"
    assert describe(source("hf", name="owner/name")) == "hf owner/name"
