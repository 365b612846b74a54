"""A study folder as a run leaves it, with losses that are made up."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.core.measures import MEASURES
from orchestrator.report.summary import stopped_metrics
from orchestrator.storage.files import JOURNAL_FILE
from orchestrator.training.outcome import STOPPED

STEPS = [0, 8, 16, 24]
TASKS = [f"task {number}" for number in range(9)] + ["<script>alert(1)</script>"]
SETS = ("query", "held_out", "off_target")
ARMS = {
    "nearest_first": {"method": "tma", "order": "nearest_first", "granularity": "instance"},
    "random": {"method": "random"},
    "farthest_first": {"method": "tma", "order": "farthest_first", "granularity": "instance"},
    "nearest_first_tasks": {"method": "tma", "order": "nearest_first", "granularity": "task"},
}
RUN = {
    "started": "2024-11-22T10:00:00+00:00",
    "seconds": 401.25,
    "command": "orchestrator run experiments/quickstart.yaml",
    "versions": {"torch": "2.13.0", "ray": "2.60.0"},
    "hardware": {"cpu": "a processor", "cores": 2, "memory_gib": 23.4, "gpus": []},
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "data": [
        {
            "trials": list(ARMS),
            "splits": {
                "pool": {
                    "instances": 8200,
                    "tasks": 41,
                    "dropped": {"longer than max_chars": 7, "beyond max_per_task": 1300},
                    "notes": {"system message removed": 12},
                },
                "query": {"instances": 30, "tasks": 10, "dropped": {}, "notes": {}},
            },
            "leakage": {"task shared with query": 3},
        }
    ],
    "near_duplicates": [
        {
            "trials": list(ARMS),
            "threshold": 0.95,
            "counts": {"query": 1041, "held_out": 0},
            "pairs": [
                {
                    "cosine": 0.9987,
                    "pool_id": "pool/17",
                    "test_id": "task 3/1",
                    "pool_text": "How many vowels are in <b>this</b> word? " + 250 * "a",
                    "test_text": "How many vowels are in <b>that</b> word? " + 250 * "e",
                }
            ],
        }
    ],
    "models": {"model": {"name": "smollm2-135m", "fingerprint": "fedcba9876543210" * 4}},
    "stages": [
        {"name": "dataset", "seconds": 1.2, "reused": False},
        {"name": "embed", "seconds": 30.55, "reused": True},
    ],
}


def write_losses(folder: Path, sets: tuple[str, ...], shift: float, seed: int) -> None:
    """Losses of 3 instances a task; from the first evaluation on they lie `shift` higher."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in sets:
        level = 2.0 + 0.5 * SETS.index(name)
        for step in STEPS:
            for task_index, task in enumerate(TASKS):
                for instance in range(3):
                    noise = 0.01 * rng.standard_normal() + shift if step else 0.0
                    loss = level + 0.1 * task_index + np.exp(-step / 10) + noise
                    cut = name == "query" and task_index == 0 and instance == 0
                    rows.append(
                        {
                            "step": step,
                            "set": name,
                            "id": f"{task}/{instance}",
                            "task": task,
                            "loss": None if cut else loss,
                            "tokens": 0 if cut else 12,
                        }
                    )
    pq.write_table(pa.Table.from_pylist(rows), folder / "losses.parquet")


def write_plan(folder: Path, arm: dict[str, str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance = np.sort(-rng.uniform(0.1, 0.9, 384))
    if arm.get("order") == "farthest_first":
        distance = distance[::-1]
    if arm["method"] == "random":
        distance = np.full(384, np.nan)
    position = np.arange(384)
    plan = {
        "position": position,
        "row": position,
        "id": [f"id{row}" for row in position],
        "task": ["pool task"] * 384,
        "turn": position // 50,
        "unit": position,
        "distance": distance,
    }
    pq.write_table(pa.table(plan), folder / "plan.parquet")


def write_measures(folder: Path, seed: int) -> None:
    """Measures of the whole query set (task null) and of each task at every step but 0."""
    rng = np.random.default_rng(seed)
    rows = []
    for step in STEPS[1:]:
        for task in [None, *TASKS]:
            near = rng.uniform(-0.9, -0.5, len(MEASURES))
            values = dict(zip(MEASURES, near.tolist(), strict=True))
            rows.append({"step": step, "rows": 16 * step, "task": task, **values})
    pq.write_table(pa.Table.from_pylist(rows), folder / "measures.parquet")


def write_journal(folder: Path, sets: tuple[str, ...], last: int) -> None:
    """Falling losses of a trial that measured every 2 steps and was trained one step further."""
    events: list[dict[str, Any]] = [{"event": "start", "step": 0}]
    for step in range(last + 2):
        events.append({"event": "step", "step": step, "loss": 3.0})
        if step % 2 == 0:
            losses = {f"{name}_loss": 5.0 + at - 0.1 * step for at, name in enumerate(sets)}
            events.append({"event": "measure", "step": step, **losses})
    (folder / JOURNAL_FILE).write_text("".join(json.dumps(event) + "\n" for event in events))


def write_train_log(folder: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = np.arange(1, 25)
    log = {"step": step, "loss": 3 * np.exp(-step / 20) + 0.2 * rng.standard_normal(24)}
    pq.write_table(pa.table(log), folder / "train_log.parquet")


def write_config(folder: Path, arm: dict[str, str], seed: int = 0) -> None:
    """Only what was set, as the arrangement of a random trial may not name its order."""
    config = {"seed": seed, "arrangement": arm, "training": {"global_batch": 16}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def make_study(
    root: Path,
    shifts: dict[str, float],
    failed: tuple[str, ...] = (),
    stopped: dict[str, int] | None = None,
    sets: tuple[str, ...] = SETS,
    arms: dict[str, dict[str, str]] = ARMS,
    seeds: int = 0,
    claim: dict[str, Any] | None = None,
) -> Path:
    """A study folder; a positive shift makes an arm's losses higher, so the arm worse.

    A failed trial leaves its configuration, its plan, its measures and half a table of losses; one
    that was stopped, given with its last step, a journal in place of the losses.
    With seeds the summary has the column `arm`, and an arm called "a" the trials "a-0", "a-1", ...
    """
    study = root / "quickstart"
    stopped = stopped or {}
    summary = []
    named = [(name, name, 0) for name in arms]
    if seeds:
        named = [(f"{name}-{seed}", name, seed) for name in arms for seed in range(seeds)]
    for index, (name, arm_name, seed) in enumerate(named):
        arm = arms[arm_name]
        folder = study / "trials" / name
        folder.mkdir(parents=True)
        write_config(folder, arm, seed)
        write_plan(folder, arm, index)
        write_measures(folder, index)
        if name in failed:
            (folder / "losses.parquet").write_bytes(b"PAR1 and then the power went")
        elif name in stopped:
            write_journal(folder, sets, stopped[name])
        else:
            write_losses(folder, sets, shifts.get(arm_name, 0.0), index)
            write_train_log(folder, index)
        row = summary_row(name, arm, sets, name in failed)
        if name in stopped:
            row = dict.fromkeys(row, "") | {"trial": name, "status": STOPPED}
            row |= {"steps": stopped[name], **stopped_metrics(folder, stopped[name])}
        summary.append({"trial": name, "arm": arm_name, **row} if seeds else row)
    with (study / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, summary[0])
        writer.writeheader()
        writer.writerows(summary)
    resolved = {"study": "quickstart"} | ({"claim": claim} if claim else {})
    (study / "study.yaml").write_text(yaml.safe_dump(resolved))
    (study / "run.json").write_text(json.dumps(RUN))
    return study


def summary_row(name: str, arm: dict[str, str], sets: tuple[str, ...], failed: bool) -> dict:
    return {
        "trial": name,
        "status": "failed" if failed else "finished",
        "arrangement.order": arm.get("order", ""),
        "steps": "" if failed else 24,
        "query_loss": "" if failed else 2.54123,
        "held_out_loss": "" if failed or "held_out" not in sets else 3.01987,
        "off_target_loss": "" if failed else 3.5,
        "best_query_loss": "" if failed else 2.5,
        "query_loss_auc": "" if failed else 2.8,
        "steps_to_90": "" if failed else 24,
        "set_sha256": "ab" * 32 if arm["method"] == "tma" else "cd" * 32,
        "order_sha256": "" if failed else name.encode().hex().ljust(64, "0"),
        "seconds": "" if failed else 81.23456,
        "tokens_per_second": "" if failed else 1512.3,
    }


@pytest.fixture
def study_of(tmp_path):
    """`make_study` in a folder of the test's own."""
    return lambda shifts, **options: make_study(tmp_path, shifts, **options)
