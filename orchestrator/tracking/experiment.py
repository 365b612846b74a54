"""The experiment that takes a study's runs, and the database of a study that has no server."""

from __future__ import annotations

import logging
import os
import re
import uuid
from pathlib import Path

from mlflow.entities import LifecycleStage, Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from orchestrator.errors import UserError
from orchestrator.storage.disk import writing
from orchestrator.storage.files import DATABASE_FILE, MLFLOW_FOLDER
from orchestrator.tracking.record import Record

# Patience with a server belongs to the sender, which tries again; a request fails soon.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# Begins the address of files that a server looks for in its own folder, so that a database tells
# nothing of where it was made: a copied output folder opens.
RELATIVE = "mlflow-artifacts:/"


def connect(record: Record, study_folder: Path) -> tuple[MlflowClient, str]:
    """A client and the id of the experiment, which is made if MLflow has none of its name.

    Raises:
        UserError: somebody deleted it; MLflow keeps the name, and takes no run.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    database = study_folder.parent / DATABASE_FILE
    if record.uri is None:
        _make_database(database)
    client = MlflowClient(record.uri or sqlite_address(database))
    experiment = client.get_experiment_by_name(record.experiment)
    if experiment is None:
        beside = RELATIVE + re.sub(r"[^A-Za-z0-9_-]", "-", record.experiment)
        # Without this tag the UI takes the experiment for one of prompts and traces.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        made = client.create_experiment(record.experiment, None if record.uri else beside, kind)
        return client, made
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise UserError(
            f"experiment {record.experiment} is deleted there: restore it with `mlflow "
            f"experiments restore -x {experiment.experiment_id}`, or set tracking.experiment"
        )
    return client, experiment.experiment_id


def run_files(run: Run, record: Record, study_folder: Path) -> ArtifactRepository:
    """The files of a run: beside the database of a study without a server, else where it says.

    MLflow's client asks a server for files of a relative address; without one they lie here.
    """
    address = run.info.artifact_uri
    if record.uri is None and address.startswith(RELATIVE):
        inside = address.removeprefix(RELATIVE)
        address = (study_folder.parent / MLFLOW_FOLDER / inside).absolute().as_uri()
    return get_artifact_repository(address, tracking_uri=record.uri)


def _make_database(path: Path) -> None:
    """Make MLflow's tables whole or not at all: half-made ones would never open again."""
    if path.exists():
        return
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # MLflow remembers what it opened
    try:
        with writing(path, fresh):
            MlflowClient(sqlite_address(fresh)).search_experiments(max_results=1)
        try:
            os.link(fresh, path)  # unlike a rename, never over the one that another study made
        except OSError as error:
            logging.info("%s is made in place: %s", path, error)  # or it is there, or no links here
    finally:
        for made in path.parent.glob(f"{fresh.name}*"):  # SQLite's journal, too
            made.unlink()


def sqlite_address(database: Path) -> str:
    """The address under which MLflow finds a database file, whatever the name of its folder.

    SQLAlchemy ends a path at `?` and decodes what follows a `%`, and MLflow makes the folder of
    the path as it stands in the address: neither quoting nor leaving it suits both.
    """
    folder = str(database.parent)
    if not UNFIT & set(folder):
        return f"sqlite:///{database}"
    if folder not in _FOLDERS:
        _FOLDERS[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # Linux shows each open folder of a process under a plain name.
    return f"sqlite:////proc/self/fd/{_FOLDERS[folder]}/{database.name}"


UNFIT = set("%?#")
_FOLDERS: dict[str, int] = {}  # open as long as the process
