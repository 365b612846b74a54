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

Texts = dict[int, dict[str, str]]  # prompt and answer, by row


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
    begun: dict[str, tuple[str, Path, list[dict[str, Any]]]] = {}  # by arm
    lines_of: dict[Path, list[dict[str, Any]]] = {}  # of each data set, which is read once
    for trial in trials:
        path = folder / TRIALS_FOLDER / trial.name / PLAN_FILE
        if trial.arm not in begun and path.is_file():
            lines = pq.read_table(path).slice(0, ROWS).to_pylist()
            dataset = dataset_of(trial.config).path
            begun[trial.arm] = trial.name, dataset, lines
            lines_of.setdefault(dataset, []).extend(lines)
    texts = {dataset: _texts(dataset, lines) for dataset, lines in lines_of.items()}
    entries: list[dict[str, Any]] = []
    for arm, (name, dataset, lines) in begun.items():
        rows = [_row(line, *texts[dataset]) for line in lines]
        same = next((entry for entry in entries if entry["rows"] == rows), None)
        if same:
            same["arms"].append(arm)
        else:
            entries.append({"arms": [arm], "trial": name, "rows": rows})
    return entries


def _row(line: dict[str, Any], texts: Texts, queries: dict[str, int]) -> dict[str, Any]:
    """A line of a plan with its texts and its query."""
    name = line.get("query")
    query = {"id": name, **texts[queries[name]]} if name in queries else None
    known = {key: line[key] for key in ("id", "turn", "unit", "distance")}
    return {**known, **texts[line["row"]], "query": query}


def _texts(dataset: Path, lines: list[dict[str, Any]]) -> tuple[Texts, dict[str, int]]:
    """The beginnings of prompt and answer of the rows of some lines, and of their queries, by row;
    and the rows of these queries, by id."""
    wanted = {line["query"] for line in lines if line.get("query") is not None}
    chosen = (pc.field("split") == "query") & pc.field("id").isin(
        pa.array(sorted(wanted), pa.string())
    )
    found = pq.read_table(dataset / INSTANCES_FILE, columns=["row", "id"], filters=chosen)
    queries = dict(zip(found["id"].to_pylist(), found["row"].to_pylist(), strict=True))
    rows = np.unique([*(line["row"] for line in lines), *queries.values()])
    texts = {
        row: {part: embedding_text(messages, part)[:SHOWN_CHARS] for part in ("prompt", "answer")}
        for row, messages in zip(rows.tolist(), load_messages_of(dataset, rows), strict=True)
    }
    return texts, queries
