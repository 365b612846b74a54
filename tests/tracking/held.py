"""What MLflow holds of a study, in a form in which two records can be compared."""

import shutil
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from orchestrator.tracking import sync
from orchestrator.tracking.mirror import RUN_TAG
from orchestrator.tracking.record import read_record
from tests.studies import files_beside


def held(address, study="tiny"):
    """All that MLflow holds of a study, by run: what two records must agree in."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id])
    keys = {run.info.run_id: run.data.tags[RUN_TAG] for run in runs}
    assert len(set(keys.values())) == len(runs), "a run is there twice"
    return {keys[run.info.run_id]: run_held(client, address, run, keys) for run in runs}


def points_held(address, study="tiny"):
    """How many metrics MLflow holds of a study that may not have arrived there yet."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return sum(len(run.data.metrics) for run in runs)


def run_held(client, address, run, keys):
    tags = {name: text for name, text in run.data.tags.items() if name != "mlflow.user"}
    if "mlflow.parentRunId" in tags:
        tags["mlflow.parentRunId"] = keys[tags["mlflow.parentRunId"]]
    history = [
        (point.key, point.step, point.timestamp, point.value)
        for key in run.data.metrics
        for point in client.get_metric_history(run.info.run_id, key)
    ]
    return {
        "status": run.info.status,
        "time": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": tags,
        "points": sorted(history),
        "files": [
            (path, None if path.endswith(".png") else size)  # no two drawings need share a size
            for path, size in sorted(
                files_beside(Path(address.removeprefix("sqlite:///")).parent, run).items()
                if address.startswith("sqlite:///")
                else files_of(client, run.info.run_id)
            )
        ],
        "inputs": [each.dataset.digest for each in run.inputs.dataset_inputs],
    }


def files_of(client, run_id, path=None):
    """(path, size) of each file that a server has of a run."""
    for file in client.list_artifacts(run_id, path):
        yield from (
            files_of(client, run_id, file.path) if file.is_dir else [(file.path, file.file_size)]
        )


def undisturbed(fabricated, folder):
    """The record of a copy of the study's folder, sent to SQLite in one go."""
    copy = folder / "copy" / "tiny"
    shutil.copytree(fabricated.folder, copy)
    record = replace(read_record(copy), uri=None)
    record.write(copy)
    assert sync(copy) is None
    return held(record.address(copy))
