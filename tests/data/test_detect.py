"""Which reader reads what lies at a place, and how much is there."""

import json

import pytest

from orchestrator.data.detect import find_source, look
from orchestrator.data.leakage import TestItems
from orchestrator.errors import DataError

SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of thirty records, each made of its number."""
    monkeypatch.chdir(tmp_path)

    def write(record, name="data.jsonl"):
        lines = (json.dumps(record(number)) for number in range(30))
        (tmp_path / name).write_text("\n".join(lines))
        return name

    return write


def pair(number, **more):
    return {"prompt": f"p {number}", "completion": f"c {number}", **more}


@pytest.mark.parametrize(
    ("record", "reader", "fields"),
    [
        (lambda n: pair(n, id=n, task="t"), "jsonl", None),
        (lambda n: pair(n, key=f"k{n}"), "jsonl", {"id": "key", "task": None}),
        (
            lambda n: {"instruction": f"do {n}", "input": "", "output": "done"},
            "jsonl",
            {"id": None, "task": None, "prompt": ["instruction", "input"], "completion": "output"},
        ),
        (
            lambda n: {"id": n, "source": "s", "messages": SAID},
            "jsonl",
            {"task": "source", "messages": "messages"},
        ),
        (
            lambda n: {"conversations": [{"from": "human", "value": "a"},
                                         {"from": "gpt", "value": "b"}]},
            "jsonl",
            {"id": None, "task": None, "messages": "conversations"},
        ),
        (lambda n: {"prompt_id": f"{n}", "category": "c", "messages": SAID}, "no_robots", None),
        (lambda n: {"id": f"{n}", "source": "s", "conversations": SAID}, "flan_mini", None),
        (
            lambda n: {"inputs_pretokenized": "a", "targets_pretokenized": "b", "task": "t"},
            "p3",
            None,
        ),
    ],
)  # fmt: skip
def test_the_reader_and_the_columns_are_told_by_the_records(file, record, reader, fields):
    source = find_source(file(record), "pool", {})
    given = source.model_dump(exclude_unset=True)
    assert given == {"reader": reader, "path": "data.jsonl"} | (
        {"fields": fields} if fields else {}
    )
    assert len(look(source)[1].table) == 30


def test_columns_that_are_named_count_and_others_are_asked_for(file):
    name = file(lambda n: {"q": f"q {n}", "a": f"a {n}"})
    with pytest.raises(DataError, match=r"which have a, q: say which .* --fields"):
        find_source(name, "pool", {})
    source = find_source(name, "pool", {"prompt": "q", "completion": "a"})
    assert look(source)[1].said == "30 rows without tasks"


def test_ids_that_come_twice_and_tasks_of_one_row_are_not_read(file):
    source = find_source(file(lambda n: pair(n, id=n // 2, source=f"page {n}")), "pool", {})
    assert source.fields.task == "source"
    source, found = look(source)
    assert (source.fields.id, source.fields.task) == (None, None)
    assert (len(found.table), found.tasks, source.bad_records) == (30, 0, "error")


def test_what_cannot_be_read_is_left_out_and_told(file):
    bad = file(lambda n: pair(n, id=n, task="t") | ({"completion": ""} if n == 9 else {}))
    source, found = look(find_source(bad, "pool", {}))
    assert source.bad_records == "skip"
    assert found.said == "29 rows of one task, 1 left out: answer is empty"


def test_rows_that_are_test_items_are_counted(file):
    name = file(lambda n: pair(n, id=n, task="t"))
    tests = TestItems({"query": look(find_source(name, "query", {}))[1].table})
    leaks = look(find_source(name, "pool", {}), tests)[1].leaks
    assert leaks == {"task shared with query": 30, "exact duplicate of query": 30}


def test_the_suite_has_a_name_and_an_empty_or_missing_file_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_source("builtin", "query", {}).split == "query"
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty.jsonl begins with no records"):
        find_source("empty.jsonl", "pool", {})
    with pytest.raises(DataError, match=r"data/train.jsonl: no such file"):
        find_source("data/train.jsonl", "pool", {})
