"""A file of ids names rows of the pool in its order, or is refused with all that is wrong."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.sources import Data
from orchestrator.core.plan import Plan
from orchestrator.data import dataset
from orchestrator.errors import DataError
from orchestrator.stages.arrange import plan_table
from orchestrator.stages.exports import LINES
from orchestrator.stages.given import listed_rows, rows_digest, rows_of
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import PLAN_SCHEMA

POOL = [f"train/{number}" for number in range(30)]
IDS = pa.chunked_array([POOL[:11], POOL[11:]])


def arrangement(path, **settings):
    return Arrangement(method="given", options={"path": str(path)}, **settings)


def rows(path, pool=IDS, tests=None, **settings):
    return rows_of(arrangement(path, **settings), pool, tests or {}, lambda _: {}).tolist()


def write_text(path, names):
    path.write_text("\n".join(names))


def write_gzip(path, names):
    path.write_bytes(gzip.compress("\r\n".join([*names, "", ""]).encode()))


def write_lines(path, names):
    path.write_text("".join(json.dumps({"score": 1.5, "id": name}) + "\n" for name in names))


def write_array(path, names):
    path.write_text(json.dumps([{"id": name, "text": "[a]"} for name in names], indent=1))


def write_parquet(path, names):
    pq.write_table(pa.table({"id": names, "text": ["x"] * len(names)}), path)


WRITERS = [write_text, write_gzip, write_lines, write_array, write_parquet]


@pytest.mark.parametrize("write", WRITERS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.lists(st.sampled_from(range(len(POOL))), min_size=1, unique=True))
def test_any_part_of_a_pool_in_any_order_is_read_back_whatever_the_file_is(tmp_path, write, order):
    path = tmp_path / "order"
    write(path, [POOL[row] for row in order])
    assert rows(path) == order


def test_ids_that_are_whole_numbers_are_named_as_text_or_as_numbers(tmp_path):
    path, pool = tmp_path / "order", pa.chunked_array([["10", "11", "12"]])
    for content in ("12\n10\n", '{"id": 12}\n{"id": "10"}\n'):
        path.write_text(content)
        assert rows(path, pool) == [2, 0]
    pq.write_table(pa.table({"id": pa.array([12, 10], pa.int32())}), path)
    assert rows(path, pool) == [2, 0]


@pytest.mark.parametrize("form", LINES)
def test_an_order_that_was_written_for_another_trainer_comes_back_as_it_was(tmp_path, form):
    chosen, plan = [7, 3, 28], tmp_path / "plan.parquet"
    columns = [[POOL[row] for row in chosen], ["t"] * 3]
    ids, tasks = (pa.chunked_array([pa.array(column)]) for column in columns)
    numbers = pa.array(chosen).to_numpy()
    table = plan_table(Plan(numbers, 0 * numbers, numbers, numbers * 0.1), ids, tasks)
    assert table.schema.equals(PLAN_SCHEMA)
    pq.write_table(table, plan)
    LINES[form](plan, None)
    assert len(list(tmp_path.iterdir())) == 2
    assert [rows(path) for path in tmp_path.iterdir()] == [chosen, chosen]


def test_rows_cut_a_file_short_and_more_than_it_names_are_refused(tmp_path):
    path = tmp_path / "order.txt"
    write_text(path, POOL[5:9])
    assert rows(path, rows=4) == [5, 6, 7, 8]
    with pytest.raises(DataError, match=r"arrangement\.rows is 5, .*order\.txt names 4 ids: set 4"):
        rows(path, rows=5)


def test_unknown_repeated_and_test_ids_are_refused_all_at_once_with_their_lines(tmp_path):
    path = tmp_path / "order.txt"
    strange = [f"x{number}" for number in range(7)]
    write_text(path, [POOL[0], *strange, POOL[1], "", POOL[0], "q1", POOL[0], "h\xe9"])
    tests = {"query": pa.chunked_array([["q0", "q1"]]), "held_out": pa.chunked_array([["h\xe9"]])}
    with pytest.raises(DataError) as refused:
        rows(path, tests=tests)
    first, *faults, hint = str(refused.value).split("\n")
    assert first == f"arrangement.options.path: {path} cannot be trained on:"
    assert faults == [
        "  - 7 not in the pool: line 2 'x0', line 3 'x1', line 4 'x2', line 5 'x3', line 6 'x4', "
        "...",
        "  - 1 of test items, in data.query: line 12 'q1'",
        "  - 1 of test items, in data.held_out: line 14 'h\\xe9'",
        "  - 2 named before: line 11 'train/0' (first in line 1), "
        "line 13 'train/0' (first in line 1)",
    ]
    assert hint.startswith("Ids of this pool are as 'train/0', 'train/1': `orchestrator show`")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": "train/1"}\n{"key": "train/2"}\n{"id": \n', "2 without an id: line 2, line 3"),
        (b"train/1\n\xff\n", "1 without an id: line 2"),
        (b'[{"id": "train/1"}, {"id": null}]', "1 without an id: record 2"),
        (b"\xef\xbb\xbftrain/1\ntrain/99\n", "1 not in the pool: line 2 'train/99'"),
        (b"\n \n", "names no id: write one a line, or records with an id"),
        (b"PK\x03\x04", "is a ZIP archive: unpack it"),
    ],
)
def test_what_holds_no_id_is_refused_by_its_place(tmp_path, content, said):
    path = tmp_path / "order"
    path.write_bytes(content)
    with pytest.raises(DataError, match="order") as refused:
        rows(path)
    assert said in str(refused.value)


def test_a_table_without_ids_is_refused_by_its_rows(tmp_path):
    pq.write_table(pa.table({"key": POOL}), tmp_path / "order")
    with pytest.raises(DataError, match=r"30 without an id: row 1, .*, row 5, \.\.\."):
        rows(tmp_path / "order")


def test_rows_that_were_dropped_as_leakage_are_told_from_unknown_ones(tmp_path):
    record = {"task": "a", "completion": "yes"}
    sources = {
        "pool": [("clean", "one?"), ("same", "Two?"), ("nearly", "two")],
        "query": [("test", "Two?")],
    }
    for name, items in sources.items():
        lines = [json.dumps({**record, "task": name, "id": i, "prompt": p}) for i, p in items]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    data = Data.model_validate(
        {name: {"reader": "jsonl", "path": str(tmp_path / f"{name}.jsonl")} for name in sources}
        | {"leakage": "drop"}
    )
    made = Artifact(tmp_path, "", dataset.write(data, tmp_path), reused=False)
    order = tmp_path / "order.txt"
    write_text(order, ["nearly", "clean", "none", "same", "test"])
    with pytest.raises(DataError) as refused:
        listed_rows(arrangement(order), data, made)
    assert str(refused.value).split("\n")[1:-1] == [
        "  - 1 left out of the pool as leakage, normalised duplicate of query: line 1 'nearly'",
        "  - 1 not in the pool: line 3 'none'",
        "  - 1 left out of the pool as leakage, exact duplicate of query: line 4 'same'",
        "  - 1 of test items, in data.query: line 5 'test'",
    ]
    write_text(order, ["clean"])
    assert listed_rows(arrangement(order), data, made).tolist() == [0]


def test_rows_that_a_mixture_did_not_draw_are_told_from_unknown_ones(tmp_path, monkeypatch):
    for name, lines in {"a": ("a1", "a2", "same"), "b": ("b1",), "query": ("test",)}.items():
        records = (
            {"id": line, "task": name, "prompt": "Two?" if line in ("same", "test") else line,
             "completion": "yes"}
            for line in lines
        )  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    source = {
        name: {"reader": "jsonl", "path": str(tmp_path / f"{name}.jsonl")}
        for name in ("a", "b", "query")
    }
    pool = [source["a"] | {"rows": 1}, source["b"]]
    folder = tmp_path / "store" / "made"
    folder.mkdir(parents=True)
    for leakage in ("allow", "drop"):
        data = Data.model_validate({"pool": pool, "query": source["query"], "leakage": leakage})
        made = Artifact(folder, "", dataset.write(data, folder), reused=False)
        drawn = pq.read_table(folder / "instances.parquet")["id"].to_pylist()
        names = [name for name in ("a/a1", "a/a2", "a/same") if name not in drawn]
        write_text(tmp_path / "order.txt", [*names, "a/none"])
        monkeypatch.setattr(
            "tempfile.tempdir", "/proc/none"
        )  # the pool is set aside beside the data set
        with pytest.raises(DataError) as refused:
            listed_rows(arrangement(tmp_path / "order.txt"), data, made)
        undrawn, *others = str(refused.value).split("\n")[1:-1]
        count = 2 if leakage == "allow" else 1
        assert undrawn.startswith(f"  - {count} not drawn of its source: line 1 'a/a")
        assert others == [
            *(["  - 1 left out of the pool as leakage, exact duplicate of query: line 2 'a/same'"]
              if leakage == "drop" else []),
            f"  - 1 not in the pool: line {len(names) + 1} 'a/none'",
        ]  # fmt: skip
        assert list(folder.parent.iterdir()) == [folder]


def test_the_digest_of_rows_knows_their_order(tmp_path):
    path = tmp_path / "order.txt"
    write_text(path, POOL[:3])
    forth = rows_of(arrangement(path), IDS, {}, lambda _: {})
    assert rows_digest(forth) == rows_digest(forth.copy()) != rows_digest(forth[::-1])
