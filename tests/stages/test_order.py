"""A plan names what its rows are, and an order for another trainer what each message is."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.config.sources import Data
from orchestrator.core.plan import Plan
from orchestrator.data import dataset
from orchestrator.data.readers.jsonl import JsonlSource
from orchestrator.stages.arrange import plan_table, write_plan
from orchestrator.stages.dataset import dataset_spec
from orchestrator.stages.exports import LINES
from orchestrator.storage.artifacts import build
from orchestrator.storage.files import PLAN_SCHEMA, SOURCE
from tests.stages.making import Silence


def test_an_answer_that_is_not_learned_has_the_weight_nothing(tmp_path):
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "one", "weight": 0},
        {"role": "user", "content": "r"},
        {"role": "assistant", "content": "two", "weight": 1},
    ]
    source = {}
    for name in ("pool", "query"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps({"id": name, "task": name, "messages": turns}) + "\n")
        source[name] = JsonlSource(
            reader="jsonl", path=str(path), max_turns=2, fields={"messages": "messages"}
        )
    dataset.write(Data(**source, leakage="allow"), tmp_path)
    nothing = np.zeros(1, np.int64)
    plan = Plan(rows=nothing, turn=nothing, unit=nothing, distance=np.array([-0.5]))
    table = pq.read_table(tmp_path / "instances.parquet").take([0])
    pq.write_table(plan_table(plan, table["id"], table["task"]), tmp_path / "plan.parquet")
    LINES["jsonl"](tmp_path / "plan.parquet", tmp_path)
    (line,) = map(json.loads, (tmp_path / "plan.jsonl").open())
    assert line["messages"] == [
        turns[0], turns[1], turns[2], {"role": "assistant", "content": "two"}
    ]  # fmt: skip


@pytest.mark.parametrize("listed", [True, False])
def test_the_plan_of_a_pool_of_several_sources_names_the_source_of_each_row(tmp_path, listed):
    for name in ("one", "other", "query"):
        rows = [{"id": i, "task": name, "prompt": f"{name} {i}", "completion": "a"} for i in "xyz"]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, other, query = (
        {"reader": "jsonl", "path": str(tmp_path / f"{name}.jsonl")}
        for name in ("one", "other", "query")
    )
    spec = dataset_spec(
        Data.model_validate({"pool": [one, other] if listed else one, "query": query})
    )
    instances = build(tmp_path, "dataset", spec.key, lambda folder: spec.make(folder, Silence()))
    rows = np.array([4, 0, 5] if listed else [2, 0, 1])
    plan = Plan(
        rows=rows,
        turn=rows,
        unit=rows,
        distance=rows - 9.0,
        note="a word",
        query=0 * rows - (rows == 0),
    )
    write_plan(plan, instances, tmp_path / "plan.parquet")
    table = pq.read_table(tmp_path / "plan.parquet")
    assert table.schema.equals(PLAN_SCHEMA.append(SOURCE) if listed else PLAN_SCHEMA)
    assert table.schema.metadata == {b"note": b"a word"}
    assert table["query"].to_pylist() == [None if row == 0 else "x" for row in rows]
    if listed:
        assert table["id"].to_pylist() == ["other/y", "one/x", "other/z"]
        assert table["source"].to_pylist() == ["other", "one", "other"]
