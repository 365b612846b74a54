"""What two runs of one study must have left alike, in their folder and in MLflow."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from orchestrator.storage.files import RESULT_TABLES, SEARCH_FILE
from orchestrator.tracking.mirror import FILES_TAG, RUN_TAG, STUDY_TAG
from orchestrator.tracking.record import PARENT
from tests.studies import files_beside

COMMAND = [sys.executable, "-m", "orchestrator.cli"]
# What no two runs share: the clock, and names that are drawn or digest what the clock told.
TIMED = {
    "seconds", "tokens_per_second", "best_arm/tokens_per_second", "step_seconds",
    "step_tokens_per_second",
}  # fmt: skip
DRAWN_TAGS = {STUDY_TAG, FILES_TAG, MLFLOW_PARENT_RUN_ID}


def left_behind(folder: Path) -> dict[str, Any]:
    """All in which two runs of one study agree, by name; of the folder of one."""
    with (folder / "summary.csv").open(newline="") as file:
        rows = [_untimed(row) for row in csv.DictReader(file)]
    facts: dict[str, Any] = {"summary.csv": rows}
    if (folder / SEARCH_FILE).is_file():
        facts[SEARCH_FILE] = (folder / SEARCH_FILE).read_bytes()
    for trial in (row["trial"] for row in rows):
        for name in RESULT_TABLES:
            lines = pq.read_table(folder / "trials" / trial / name).to_pylist()
            facts[f"{name} of {trial}"] = [_untimed(line) for line in lines]
    verify = [*COMMAND, "verify", str(folder)]
    verified = subprocess.run(verify, check=False, capture_output=True, text=True)
    facts["certificates"] = (verified.returncode, verified.stdout.count("proved"))
    return facts | in_mlflow(folder)


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMED}


def in_mlflow(folder: Path) -> dict[str, Any]:
    """Each run as MLflow holds it, and the keys of all runs: deleted ones count."""
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(folder.name)
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    keys = {run.info.run_id: run.data.tags[RUN_TAG] for run in runs}
    facts: dict[str, Any] = {"keys of MLflow's runs": sorted(keys.values())}
    for run in runs:
        tags, points = run.data.tags, {}
        for metric in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, metric)
            points[metric] = sorted((x.step, 0 if metric in TIMED else x.value) for x in history)
        facts[f"MLflow's run {run.info.run_name}"] = {
            "status": run.info.status,
            "parent": keys.get(tags.get(MLFLOW_PARENT_RUN_ID)),
            "params": run.data.params,
            "tags": {
                name: text.replace(str(folder.parent), "OUTPUT")
                for name, text in tags.items()
                if name not in DRAWN_TAGS
            },
            "datasets": [each.dataset.digest for each in run.inputs.dataset_inputs],
            "points": points,
            "files": sorted(files_beside(folder.parent, run)),
        }
    return facts


def differences(undisturbed: dict[str, Any], disturbed: dict[str, Any], trials: int) -> list[str]:
    """What is wrong with what a disturbed study left behind; both by `left_behind`."""
    names = sorted(undisturbed.keys() | disturbed.keys())
    found = [f"{name} differs" for name in names if undisturbed.get(name) != disturbed.get(name)]
    if disturbed["certificates"] != (0, trials):
        found.append("not every order is proved")
    keys = disturbed["keys of MLflow's runs"]
    if len(keys) != trials + 1 or len(set(keys)) != len(keys):
        found.append(f"MLflow holds {len(keys)} runs, {len(set(keys))} of them different")
    runs = {name: run for name, run in disturbed.items() if name.startswith("MLflow's run ")}
    if sum(run["parent"] == PARENT for run in runs.values()) != trials:
        found.append("MLflow's parent run has not one child for each trial")
    for name, run in runs.items():
        if run["status"] != "FINISHED":
            found.append(f"{name} is {run['status']}")
        for metric, points in run["points"].items():
            if len({step for step, _ in points}) < len(points):
                found.append(f"{name} has a step of {metric} twice")
    return found
