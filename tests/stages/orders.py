"""Orders of a few conversations, for what writes them in other forms."""

import json

import numpy as np
import pyarrow.parquet as pq

from orchestrator.config.schema import TrialConfig
from orchestrator.core.plan import Plan
from orchestrator.data import dataset
from orchestrator.stages.arrange import write_plan
from orchestrator.stages.exports.order import Order
from orchestrator.storage.artifacts import Artifact

ROWS = [4, 0, 3, 1, 2]  # of five, in the order of training


def conversation(*turns):
    """Messages of (prompt, answer, whether it carries loss) each."""
    return [
        message
        for prompt, answer, learned in turns
        for message in (
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer, "weight": int(learned)},
        )
    ]


def make_order(folder, conversations, rows=ROWS, batch=2, epochs=1):
    """The order of some rows of a pool of conversations, `r0`, `r1`, ...; nothing is embedded."""
    query = [conversation(("a test item", "its answer", True))]
    source = {}
    for name, items in {"pool": conversations, "query": query}.items():
        path = folder / f"{name}.jsonl"
        lines = [
            {"id": f"{name[0] if name == 'query' else 'r'}{at}", "task": f"{name} {at}",
             "messages": messages}
            for at, messages in enumerate(items)
        ]  # fmt: skip
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        source[name] = {
            "reader": "jsonl", "path": str(path), "max_turns": 9,
            "fields": {"messages": "messages"},
        }  # fmt: skip
    training = {"global_batch": batch, "epochs": epochs}
    config = TrialConfig.model_validate({"data": source, "training": training})
    info = dataset.write(config.data, folder)
    made = Artifact(folder, "0" * 64, info, reused=False)
    nothing = np.zeros(len(rows), np.int64)
    plan = Plan(np.array(rows, np.int64), nothing, nothing, nothing - 0.5, "two clusters")
    write_plan(plan, made, folder / "plan.parquet")
    return Order(folder / "plan.parquet", config, made)


def planned_ids(order):
    return pq.read_table(order.plan)["id"].to_pylist()
