"""A small study of random tiny models, the command that runs it, and what it leaves."""

import re
import subprocess
import sys

import yaml
from mlflow.tracking import MlflowClient

from tests.waiting import PATIENCE

BATCH = 4
STUDY = {
    "study": "tiny",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 4},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 2},
        "held_out": {"reader": "builtin", "split": "held_out", "max_per_task": 2},
        "off_target": {"reader": "builtin", "split": "off_target", "max_per_task": 2},
    },
    "embedding": {"model": "random:tiny-bert"},
    "neighbours": {"shard_rows": 70, "depth": 40},
    "arrangement": {"selection": "both_ends", "rows": 22},
    # The arithmetic of GPUs, whatever this machine multiplies fast.
    "model": {"name": "random:tiny-llama", "precision": "bfloat16"},
    "training": {"global_batch": BATCH, "learning_rate": 1e-3},
    "evaluation": {"every": 2},
    "sweep": {
        "paired": [
            [
                {"label": "nearest-first", "arrangement.order": "nearest_first"},
                {"label": "random", "arrangement.order": "random"},
                {"label": "farthest-first", "arrangement.order": "farthest_first",
                 "training.workers": 2, "training.zero_stage": 2},
                {"label": "nearest-tasks-first", "arrangement.granularity": "task"},
            ]
        ]
    },
}  # fmt: skip
COMMAND = [sys.executable, "-m", "orchestrator.cli"]


def write_study(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return path


def orchestrate(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        **options,
    )


def trial_folders(study):
    return {re.sub(r"-[0-9a-f]{8}$", "", path.name): path for path in (study / "trials").iterdir()}


def runs_of(output):
    return runs_at(f"sqlite:///{output / 'mlflow.db'}")


def files_beside(output, run):
    """The files of a run beside the database of an output folder: path -> size."""
    folder = output / "mlartifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def runs_at(address):
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("tiny")
    return client, client.search_runs([experiment.experiment_id])
