"""An order for another trainer says of each message what this one does with it."""

import json

import numpy as np
import pyarrow.parquet as pq

from orchestrator.config.sources import Data
from orchestrator.core.plan import Plan
from orchestrator.data import dataset
from orchestrator.data.readers.jsonl import JsonlSource
from orchestrator.stages.arrange import plan_table
from orchestrator.stages.exports import LINES


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
