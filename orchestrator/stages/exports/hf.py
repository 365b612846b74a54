"""An order as a folder that `datasets.load_dataset` reads, with a card that says what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config import dump_yaml
from orchestrator.provenance import git_commit, versions
from orchestrator.stages.exports.order import Order
from orchestrator.storage.artifacts import write_table, write_text
from orchestrator.training.spec import planned_certificate, planned_steps

DATA_FILE = "train.parquet"
CARD_FILE = "README.md"
HEAD = f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: {DATA_FILE}
task_categories:
- text-generation
tags:
- instruction-tuning
- curriculum-learning
- data-order
---
"""
# An answer that is read and not learned has the weight 0, as in OpenAI's format.
MESSAGES = pa.list_(
    pa.struct([("role", pa.string()), ("content", pa.string()), ("weight", pa.int32())])
)
POLICIES = {  # under `error` there are none
    "drop": "They were left out of it, and so of this order.",
    "allow": "They were kept, and may be in this order.",
}


def write(order: Order, folder: Path) -> None:
    """`train.parquet`, the plan with the messages of its rows, and `README.md`, the card."""
    messages = [
        [
            {**message, "weight": int(at not in row.unlearned)}
            if message["role"] == "assistant"
            else {**message}
            for at, message in enumerate(row.messages)
        ]
        for row in order.rows
    ]
    table = order.table.append_column("messages", pa.array(messages, MESSAGES))
    folder.mkdir(exist_ok=True)
    write_table(folder / DATA_FILE, table)
    write_text(folder / CARD_FILE, HEAD + "\n".join(_card(order)))


def _card(order: Order) -> Iterator[str]:
    """The lines of the card below its head."""
    tasks = len(order.table["task"].unique())
    yield f"# {len(order.table):,} rows in the order of training\n"
    yield f"Rows of {tasks:,} tasks from the pool that is named below, whose licence they keep.\n"
    yield "`datasets.load_dataset(FOLDER, split='train')` keeps the order, and so does a trainer"
    yield "that neither shuffles nor packs: `train_sampling_strategy: sequential` of transformers."
    yield "`weight` is 1 of answers that carry loss, 0 of those that are read and not learned.\n"
    yield from _certificate(order)
    yield from _leakage(order)
    yield from _making(order)


def _certificate(order: Order) -> Iterator[str]:
    config, ids = order.config, order.table["id"].to_pylist()
    batch, epochs = config.training.global_batch, config.training.epochs
    steps = planned_steps(config, len(ids))
    yield "## Certificate\n"
    if epochs > 1:
        yield f"The rows are of {epochs:,} passes, each of which ends with a batch of its own."
    yield f"A trial that is fed these rows, {batch:,} a step, in {steps:,} steps has these digests"
    yield "in its `result.json`, and `orchestrator verify` proves its order. Of each step that is"
    yield "its number, from 0, its ids, sorted, a line each, and a blank line.\n"
    yield from _counts("SHA-256 of", planned_certificate(config, ids), "digest")


def _leakage(order: Order) -> Iterator[str]:
    info = order.dataset.info
    yield "## Leakage\n"
    yield from _counts(
        "set", {name: told["instances"] for name, told in info["splits"].items()}, "rows"
    )
    if info["leakage"]:
        yield f"Test items in the pool. {POLICIES[order.config.data.leakage]}\n"
        yield from _counts("kind", info["leakage"], "rows of the pool")
    else:
        hold_out = order.config.data.hold_out
        alone = hold_out and (hold_out.origin, hold_out.by) == ("pool", "instance")
        what = "prompt" if alone else "task or a prompt"
        yield f"No row of the pool shares a {what} with a test item.\n"
    if order.near_duplicates is None:
        yield "Rows that nearly equal a test item were not looked for: no text was embedded.\n"
        return
    pairs = pq.read_table(order.near_duplicates.path / "pairs.parquet", columns=["row"])["row"]
    near = len(np.intersect1d(pairs.to_numpy(), order.table["row"].to_numpy()))
    threshold = order.near_duplicates.info["threshold"]
    yield f"Rows of this order whose vector has a cosine of {threshold:g} or more with that of a"
    yield f"test item: {near:,}. In the whole pool:\n"
    yield from _counts("near to", order.near_duplicates.info["counts"], "rows of the pool")


def _making(order: Order) -> Iterator[str]:
    made = {"arrangement-orchestrator": versions()["arrangement-orchestrator"]}
    if commit := git_commit():
        made["commit"] = commit
    made["SHA-256 of what determines the data"] = order.dataset.digest
    if note := (order.table.schema.metadata or {}).get(b"note"):
        made["the method notes"] = note.decode()
    yield "## How it was made\n"
    yield from _counts("what", made, "which")
    yield "`orchestrator arrange STUDY.yaml --out DIR` makes it again from a study of these keys:\n"
    yield f"````yaml\n{dump_yaml(order.config)}````\n"


def _counts(head: str, values: Mapping[str, Any], title: str) -> Iterator[str]:
    """A table of two columns."""
    yield f"| {head} | {title} |\n| --- | --- |"
    for name, value in values.items():
        yield f"| {name} | {f'{value:,}' if isinstance(value, int) else value} |"
    yield ""
