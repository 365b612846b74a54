"""The trained model of a trial in MLflow's model registry."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mlflow import MlflowException
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.tracking import MlflowClient

from orchestrator.tracking.record import RunRecord

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
UPLOAD_SECONDS = "600"  # a server answers when gigabytes have reached its own store
RESERVED = re.compile(r"v?\d+|latest", re.IGNORECASE)


def register(
    client: MlflowClient,
    files: ArtifactRepository,
    name: str,
    trial: RunRecord,
    run: Run,
    folder: Path,
) -> None:
    """Log a model's files, make them a version of `name`, and point the arm's alias at it.

    Of several trials of one arm, such as seeds, the alias names the last that was registered.
    Also for a version that is there: its sender may have died before it set the alias.

    Args:
        files: of the run.
        trial: what MLflow is to hold of it.
        folder: of the model.
    """
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'")
    if versions:
        version = versions[0]
    else:
        _upload(files, folder)
        version = _new_version(client, name, trial, run, folder.name)
    short = alias(trial.tags["arm"])
    named = client.get_registered_model(name).aliases.get(short, 0)
    if int(named) < int(version.version):
        client.set_registered_model_alias(name, short, version.version)


def _upload(files: ArtifactRepository, folder: Path) -> None:
    before = os.environ[TIMEOUT]
    os.environ[TIMEOUT] = UPLOAD_SECONDS
    try:
        files.log_artifacts(str(folder), folder.name)
    finally:
        os.environ[TIMEOUT] = before


def _new_version(
    client: MlflowClient, name: str, trial: RunRecord, run: Run, folder: str
) -> ModelVersion:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    source = f"{run.info.artifact_uri}/{folder}"
    return client.create_model_version(name, source, run.info.run_id, {"trial": trial.name})


def alias(arm: str) -> str:
    """An arm as the registry takes it: letters, digits, _ and -, and none of its own words."""
    text = re.sub(r"[^A-Za-z0-9_-]", "-", arm)[:250]
    return f"arm-{text}" if RESERVED.fullmatch(text) else text
