"""The first rows of an arm are those of its plan, with the texts of its data set."""

import json
from types import SimpleNamespace

import numpy as np

from orchestrator.config.sources import Data
from orchestrator.core.plan import Plan
from orchestrator.stages.arrange import write_plan
from orchestrator.stages.dataset import dataset_spec
from orchestrator.storage.artifacts import build
from orchestrator.study.first_rows import ROWS, SHOWN_CHARS, first_rows
from tests.stages.making import Silence


def test_arms_that_begin_alike_share_their_first_rows_and_each_row_has_its_query(tmp_path):
    for name in ("pool", "query"):
        rows = [
            {"id": f"{name}-{i}", "task": name, "prompt": f"{name} {i}?", "completion": 999 * "a"}
            for i in range(9)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sides = {
        name: {"reader": "jsonl", "path": str(tmp_path / f"{name}.jsonl")}
        for name in ("pool", "query")
    }
    spec = dataset_spec(Data.model_validate(sides))
    dataset = build(tmp_path, "dataset", spec.key, lambda folder: spec.make(folder, Silence()))
    order = np.arange(8)[::-1].copy()
    plan = Plan(order, 0 * order, order, order / -10, query=np.where(order > 5, 2, -1))
    known = {"near-0": plan, "near-1": plan, "same-0": plan, "far-0": plan.take(order)}
    for name, each in known.items():
        (tmp_path / "trials" / name).mkdir(parents=True)
        write_plan(each, dataset, tmp_path / "trials" / name / "plan.parquet")
    trials = [
        SimpleNamespace(name=name, arm=name[:-2], config=None) for name in [*known, "never-0"]
    ]
    (alone,) = first_rows([trials[3]], lambda _: dataset, tmp_path)
    assert [row["query"] for row in alone["rows"]] == [None] * ROWS
    both, far = first_rows(trials, lambda _: dataset, tmp_path)
    assert (both["arms"], both["trial"], far["arms"]) == (["near", "same"], "near-0", ["far"])
    assert [row["id"] for row in both["rows"]] == [f"pool-{7 - at}" for at in range(ROWS)]
    first, _, third, *_ = both["rows"]
    assert first["query"] == {
        "id": "query-2", "prompt": "query 2?", "answer": SHOWN_CHARS * "a"
    }  # fmt: skip
    assert (first["prompt"], first["distance"], third["query"]) == ("pool 7?", -0.7, None)
