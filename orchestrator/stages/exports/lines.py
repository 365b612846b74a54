"""An order as lines of text, for a trainer of your own: ids, or objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from orchestrator.data.dataset import load_messages_of, load_unlearned_of
from orchestrator.storage.artifacts import replacing, write_text


def write_ids(plan: Path, dataset: Path | None) -> Path:
    """`plan.ids.txt`: an id a line, in order."""
    path = plan.with_suffix(".ids.txt")
    ids = pq.read_table(plan, columns=["id"])["id"].to_pylist()
    write_text(path, "\n".join(ids) + "\n")
    return path


def write_jsonl(plan: Path, dataset: Path | None) -> Path:
    """`plan.jsonl`: an object a line, in order, with the messages where the data set is known."""
    table = pq.read_table(plan)
    rows = table["row"].to_numpy()
    messages: dict[int, Any] = {}
    if dataset is not None:
        messages = dict(zip(rows.tolist(), load_messages_of(dataset, rows), strict=True))
        unlearned = load_unlearned_of(dataset, rows)
        for row, places in zip(rows.tolist(), unlearned, strict=True):
            for place in places:  # as OpenAI's and other trainers read it
                messages[row][place] = messages[row][place] | {"weight": 0}
    records = (
        record | ({"messages": messages[record["row"]]} if messages else {})
        for record in table.to_pylist()
    )
    path = plan.with_suffix(".jsonl")
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return path
