"""Plans of a pool of which only the vectors are known: those of `arrange()` on the same arrays."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.config.arrangement import Arrangement
from orchestrator.core.arrangements import METHODS, arrange
from orchestrator.core.units import groups, instances
from orchestrator.errors import UserError
from orchestrator.stages.search import kmeans_labels
from orchestrator.storage.files import PLAN_SCHEMA
from orchestrator.storage.lfs import SIGNATURE
from orchestrator.study.arrays import ArraySettings, arrange_arrays
from tests.core.pools import make_request, pool_with_duplicates, unit_rows

ROWS = 60
RNG = np.random.default_rng(0)
POOL, QUERIES = pool_with_duplicates(1, ROWS, 45), unit_rows(RNG, 7)
TASKS = [f"task {number}" for number in RNG.integers(0, 6, ROWS)]
LABELS = np.unique(TASKS, return_inverse=True)[1]
CLUSTERS = {"clusters": 8, "seed": 3}


@pytest.fixture
def write(tmp_path):
    """Arranges arrays: the plan's path and its table."""

    def run(pool=POOL, queries=QUERIES, tasks=TASKS, form=None, seed=5, **arrangement):
        for name, vectors in (("pool", pool), ("queries", queries)):
            np.save(tmp_path / f"{name}.npy", vectors)
        names = tmp_path / "tasks.json"
        names.write_text(json.dumps(tasks))
        settings = ArraySettings(seed=seed, arrangement=Arrangement.model_validate(arrangement))
        out = tmp_path / "plans" / "plan.parquet"
        plan = arrange_arrays(
            tmp_path / "pool.npy", tmp_path / "queries.npy", None if tasks is None else names,
            settings, out, form,
        )  # fmt: skip
        table = pq.read_table(out)
        assert plan.rows.tolist() == table["row"].to_pylist()
        return out, table

    return run


def partition(granularity):
    """Units and groups at a granularity, as `Request` wants them."""
    if granularity == "instance":
        return instances(ROWS), groups(LABELS)
    if granularity == "task":
        return groups(LABELS), groups(LABELS)
    labels = kmeans_labels(POOL, CLUSTERS["clusters"], CLUSTERS["seed"])
    return groups(labels), groups(labels)


@pytest.mark.parametrize("granularity", ["instance", "task", CLUSTERS])
@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"given", "length_matched", "searched"}))
def test_every_method_plans_what_arrange_plans_on_the_same_arrays(write, method, granularity):
    budget = {"selection": "both_ends"} if "selection" in METHODS[method].reads else {}
    _, table = write(method=method, granularity=granularity, rows=22, **budget)
    units, parts = partition(granularity)
    request = make_request(POOL, QUERIES, units, groups=parts, rows=22, seed=5,
                           options=METHODS[method].options, **budget)  # fmt: skip
    expected = arrange(method, request)
    assert table.schema.equals(PLAN_SCHEMA)
    assert table["row"].to_pylist() == expected.rows.tolist()
    assert table["turn"].to_pylist() == expected.turn.tolist()
    assert table["unit"].to_pylist() == expected.unit.tolist()
    distance = table["distance"].to_numpy()
    assert np.array_equal(distance, expected.distance, equal_nan=True)


@pytest.mark.parametrize(
    "setting", [{"method": "length_matched", "rows": 9}, {"method": "tma", "answer_tokens": 9}]
)
def test_what_counts_tokens_is_refused_where_there_is_no_text(write, setting):
    with pytest.raises(UserError, match="counts tokens of texts, and here are none"):
        write(selection="nearest", **setting)


def test_a_given_order_names_row_numbers(write, tmp_path):
    order, numbers = tmp_path / "order.txt", RNG.permutation(ROWS)[:9]
    order.write_text("\n".join(map(str, numbers)))
    _, table = write(method="given", options={"path": str(order)}, rows=7)
    assert table["row"].to_pylist() == numbers[:7].tolist()
    order.write_text(f"3\n{ROWS}\n3\n")
    with pytest.raises(
        UserError, match=f"1 not in the pool: line 2 '{ROWS}'\n.*line 3 '3' .*line 1"
    ):
        write(method="given", options={"path": str(order)})


@pytest.mark.parametrize("block_rows", [7, 65_536])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_of_any_length_and_precision_are_scaled_beside_the_plan_and_left_as_they_are(
    write, tmp_path, monkeypatch, dtype, block_rows
):
    monkeypatch.setattr("orchestrator.stages.mapped.BLOCK_ROWS", block_rows)
    lengths = np.linspace(0.5, 20, ROWS)[:, None]
    pool, queries = (POOL * lengths).astype(dtype), (QUERIES * 3).astype(dtype)
    out, table = write(pool=pool, queries=queries, arm="nft", rows=22)
    unit = [
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        for rows in (pool.astype(np.float64), queries.astype(np.float64))
    ]
    expected = arrange("tma", make_request(*unit, selection="both_ends", rows=22, seed=5))
    assert table["row"].to_pylist() == expected.rows.tolist()
    assert [path.name for path in out.parent.iterdir()] == ["plan.parquet"]
    assert np.array_equal(np.load(tmp_path / "pool.npy"), pool)


def test_positions_count_ids_are_row_numbers_and_tasks_are_those_of_the_rows(write):
    _, table = write(arm="max", rows=22)
    rows = table["row"].to_pylist()
    assert table["position"].to_pylist() == list(range(22))
    assert table["id"].to_pylist() == [str(row) for row in rows]
    assert table["task"].to_pylist() == [TASKS[row] for row in rows]


BY_TASK = {"method": "wsd", "selection": "uniform", "per_task": 3}


def test_rows_of_each_task_are_those_that_arrange_takes_on_the_same_arrays(write):
    _, table = write(**BY_TASK)
    wanted = {key: BY_TASK[key] for key in ("selection", "per_task")}
    expected = arrange("wsd", make_request(POOL, QUERIES, groups=groups(LABELS), seed=5, **wanted))
    assert table["row"].to_pylist() == expected.rows.tolist()
    assert table["task"].value_counts().field("counts").to_pylist() == [3] * 6


@pytest.mark.parametrize("setting", [{"granularity": "task"}, {"method": "cluster"}, BY_TASK])
def test_what_moves_or_deals_tasks_asks_for_them(write, setting):
    with pytest.raises(UserError, match="give --tasks"):
        write(tasks=None, **setting)
    _, table = write(tasks=None, method="round_robin", granularity={"clusters": 3})
    assert table["task"].null_count == ROWS


def test_the_order_is_written_as_ids_and_as_lines(write):
    out, table = write(form="ids", arm="min", rows=9)
    assert (out.parent / "plan.ids.txt").read_text().split() == table["id"].to_pylist()
    out, table = write(form="jsonl", method="random", rows=9)
    lines = [json.loads(line) for line in (out.parent / "plan.jsonl").open(encoding="utf-8")]
    assert lines == table.to_pylist()
    assert lines[0]["distance"] is None


NAN, ZERO, LONG = POOL.copy(), POOL.copy(), POOL.copy()
NAN[4, 2], ZERO[6], LONG[9, 0] = np.nan, 0, np.inf


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"queries": QUERIES[:, :5]}, r"pool\.npy has 8 dimensions, .*queries\.npy 5: embed both"),
        ({"pool": POOL[0]}, r"pool\.npy holds float32 of shape \(8,\): give floating-point"),
        ({"queries": QUERIES[:0]}, r"queries\.npy holds float32 of shape \(0, 8\): give"),
        ({"pool": (POOL * 9).astype(int)}, r"pool\.npy holds int64"),
        ({"pool": np.array([[{}]])}, r"pool\.npy cannot be read \(.*: write it with numpy.save"),
        ({"pool": NAN}, r"pool\.npy: row 4 is zero, infinite or not a number: leave it out"),
        ({"pool": ZERO.astype(np.float64)}, "row 6 is zero"),
        ({"pool": LONG.astype(np.float16)}, "row 9 is zero"),
        ({"queries": NAN[:5]}, r"queries\.npy: row 4 is zero"),
        ({"tasks": TASKS[1:]}, "names 59 tasks, the embeddings have 60 rows"),
        ({"tasks": [*TASKS[1:], 7]}, "give a JSON list of task names"),
        ({"tasks": {"a": 1}}, "give a JSON list of task names"),
        ({"rows": ROWS + 1}, r"arrangement\.rows is 61, .*pool\.npy holds 60 rows: set 60 or"),
        (
            {"granularity": {"clusters": 61}},
            r"arrangement\.granularity\.clusters is 61, .*pool\.npy holds 60 rows",
        ),
        (
            {"method": "measure", "measure": "bigram_kl"},
            "bigram_kl needs texts; embeddings alone allow the other eight",
        ),
        (
            {"arm": None, "selection": "nearest", "rows": None, "turn_window": [50, 60]},
            r"holds no row: .* move \.turn_window",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence_and_an_earlier_plan_is_kept(
    write, monkeypatch, given, said
):
    monkeypatch.setattr("orchestrator.stages.mapped.BLOCK_ROWS", 3)
    out, before = write(arm="min", rows=5)
    with pytest.raises(UserError, match=said):
        write(**{"arm": "min", "rows": 5} | given)
    assert pq.read_table(out).equals(before)
    assert [path.name for path in out.parent.iterdir()] == ["plan.parquet"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"1.0 2.0\n", None])
def test_files_that_are_no_arrays_are_refused_before_anything_is_made(tmp_path, content):
    path, out = tmp_path / "vectors.npy", tmp_path / "plans" / "plan.parquet"
    if content is not None:
        path.write_bytes(content)
    settings = ArraySettings(arrangement=Arrangement())
    with pytest.raises(UserError, match=r"vectors\.npy cannot be read \(.*: write it with"):
        arrange_arrays(path, path, None, settings, out, None)
    assert not out.parent.exists()


def test_a_pointer_in_place_of_vectors_is_named(tmp_path):
    (tmp_path / "vectors.npy").write_bytes(SIGNATURE + b"v1\noid sha256:0\nsize 9\n")
    path, out = tmp_path / "vectors.npy", tmp_path / "plans" / "plan.parquet"
    settings = ArraySettings(arrangement=Arrangement())
    with pytest.raises(UserError, match=r"vectors\.npy is a Git LFS pointer"):
        arrange_arrays(path, path, None, settings, out, None)


def test_files_that_are_no_lists_of_tasks_are_refused_before_anything_is_made(tmp_path):
    path, out, tasks = tmp_path / "v.npy", tmp_path / "plans" / "plan.parquet", tmp_path / "t.json"
    np.save(path, POOL.astype(np.float64))
    tasks.write_text("[oh")
    for missing in (tasks, tmp_path / "none.json"):
        with pytest.raises(UserError, match=rf"{missing.name}: no JSON file"):
            arrange_arrays(path, path, missing, ArraySettings(arrangement=Arrangement()), out, None)
    assert not out.parent.exists()


@pytest.mark.parametrize("name", ["plan.jsonl", "plan", "folder.parquet"])
def test_a_plan_is_written_to_a_parquet_file_alone(tmp_path, name):
    np.save(tmp_path / "v.npy", POOL)
    (tmp_path / "folder.parquet").mkdir()
    settings = ArraySettings(arrangement=Arrangement())
    with pytest.raises(UserError, match=r"give a file that ends in \.parquet"):
        arrange_arrays(
            tmp_path / "v.npy", tmp_path / "v.npy", None, settings, tmp_path / name, "jsonl"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.parquet", "v.npy"]


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (
            "afile/plan.parquet",
            r"afile cannot be written \(is a file\): give another place with --",
        ),
        ("afile/plans/plan.parquet", r"afile/plans cannot be made \(.*afile is a file\)"),
        ("/proc/x/plan.parquet", "/proc/x cannot be made"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(tmp_path, out, said):
    (tmp_path / "afile").write_text("")
    np.save(tmp_path / "v.npy", POOL)
    settings = ArraySettings(arrangement=Arrangement())
    with pytest.raises(UserError, match=said):
        arrange_arrays(tmp_path / "v.npy", tmp_path / "v.npy", None, settings, tmp_path / out, None)
