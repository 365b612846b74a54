"""An MLflow database with its tables, for each test a copy of its own."""

import shutil

import pytest
from mlflow.tracking import MlflowClient


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """MLflow takes seconds to make its tables: once for all tests."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def empty_database(migrated, tmp_path):
    """A database where the study that a test keeps in `out` has its own."""
    for folder in ("out", "copy"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(migrated, tmp_path / folder / "mlflow.db")
    return tmp_path / "out" / "mlflow.db"
