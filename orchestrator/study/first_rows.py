"""The first rows of each arm as text, with the queries that chose them: what an arm is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.config import TrialConfig
from orchestrator.data.dataset import embedding_text, load_messages_of
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import INSTANCES_FILE, PLAN_FILE, TRIALS_FOLDER
from orchestrator.trials import Trial

ROWS = 5  # of an arm
SHOWN_CHARS = 300  # of a prompt, and of an answer


def first_rows(
    trials: Iterable[Trial], dataset_of: Callable[[TrialConfig], Artifact], folder: Path
) -> list[dict[str, Any]]:
    """The section `first_rows` of run.json: of each arm the first rows of its first plan.

    Arms that begin alike share an entry.

    Args:
        dataset_of: the data set of a configuration.
        folder: of the study. Trials without a plan are passed over.

    Returns:
        Entries with `arms`, the `trial` whose plan it is, and its first `rows`: `id`, `turn`,
        `unit`, `distance`, `prompt`, `answer`, and `query`, None or `id`, `prompt`, `answer`.
    """
    entries: list[dict[str, Any]] = []
    shown: set[str] = set()
    for trial in trials:
        path = folder / TRIALS_FOLDER / trial.name / PLAN_FILE
        if trial.arm in shown or not path.is_file():
            continue
        shown.add(trial.arm)
        rows = _rows(pq.read_table(path).slice(0, ROWS), dataset_of(trial.config).path)
        same = next((entry for entry in entries if entry["rows"] == rows), None)
        if same:
            same["arms"].append(trial.arm)
        else:
            entries.append({"arms": [trial.arm], "trial": trial.name, "rows": rows})
    return entries


def _rows(plan: pa.Table, dataset: Path) -> list[dict[str, Any]]:
    """The lines of a plan with their texts."""
    lines = plan.to_pylist()
    wanted = {line["query"] for line in lines if line.get("query") is not None}
    queries = pq.read_table(
        dataset / INSTANCES_FILE, columns=["row", "id"], filters=pc.field("split") == "query"
    )
    places = {
        name: row
        for name, row in zip(queries["id"].to_pylist(), queries["row"].to_pylist(), strict=True)
        if name in wanted
    }
    numbers = [*(line["row"] for line in lines), *places.values()]
    texts = dict(zip(numbers, _texts(dataset, numbers), strict=True))
    return [
        {
            **{key: line[key] for key in ("id", "turn", "unit", "distance")},
            **texts[line["row"]],
            "query": _query(line.get("query"), places, texts),
        }
        for line in lines
    ]


def _query(
    name: str | None, places: dict[str, int], texts: dict[int, dict[str, str]]
) -> dict[str, str] | None:
    return {"id": name, **texts[places[name]]} if name in places else None


def _texts(dataset: Path, rows: list[int]) -> list[dict[str, str]]:
    """The beginnings of prompt and answer of some rows."""
    return [
        {part: embedding_text(messages, part)[:SHOWN_CHARS] for part in ("prompt", "answer")}
        for messages in load_messages_of(dataset, np.array(rows, np.int64))
    ]
