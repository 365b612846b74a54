"""Influence of rows as the store would have it, drawn at random: no model, no engine."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.storage.artifacts import Artifact
from orchestrator.training import tokens

SPLITS = {"pool": 30, "query": 6, "held_out": 5, "off_target": 4}
WIDTH = 8


def drawn(folder, seed=0):
    """Artifacts of a dataset, of its tokens, and of the influence of its rows.

    The last query and the last pool row have no answer. Off-target items have no task.
    """
    rng, count = np.random.default_rng(seed), sum(SPLITS.values())
    split = np.repeat(list(SPLITS), list(SPLITS.values()))
    task = np.array([f"task {row % 3}" for row in range(count)], dtype=object)
    task[split == "off_target"] = "unlabelled"
    columns = {"row": np.arange(count), "id": [f"row {row}" for row in range(count)]}
    columns |= {"task": task.tolist(), "split": split.tolist()}
    marks = [np.arange(9) >= rng.integers(2, 8) for _ in range(count)]
    vectors = rng.normal(size=(count, WIDTH + 1)).astype(np.float32)
    vectors[:, -1] = rng.uniform(1, 4, count)
    for row in (SPLITS["pool"] - 1, SPLITS["pool"] + SPLITS["query"] - 1):
        marks[row][:] = False
        vectors[row] = [0] * WIDTH + [np.nan]
    made = [Artifact(folder / name, f"{name}{seed}", {}, False) for name in ("tokens", "influence")]
    info = {"splits": {name: {"instances": number} for name, number in SPLITS.items()}}
    dataset = Artifact(folder / "dataset", "dataset", info, False)
    for artifact in (dataset, *made):
        artifact.path.mkdir(parents=True)
    pq.write_table(pa.table(columns), dataset.path / "instances.parquet")
    np.save(made[1].path / "vectors.npy", vectors)
    part = tokens.Tokenised(
        np.zeros(9 * count, np.int32), np.concatenate(marks), np.full(count, 9), {"cut": 0,
        "unanswered": 2, "proved": count, "reshaped": 0}, {}, {}, {},
    )  # fmt: skip
    tokens.write([part], made[0].path)
    return dataset, *made
