"""MLflow's database lies beside the studies, whatever the folder is called."""

import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from orchestrator.tracking.experiment import sqlite_address


@pytest.mark.parametrize("name", ["50%41 off", "what?x=1", "a#b", "plain", "%?#"])
def test_a_database_is_made_under_its_own_name_and_nothing_beside_it(
    tmp_path, empty_database, name
):
    folder = tmp_path / "outputs" / name
    folder.mkdir(parents=True)
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    client = MlflowClient(sqlite_address(folder / "mlflow.db"))
    made = client.create_experiment("one", (folder / "mlartifacts").as_uri())
    run = client.create_run(made).info.run_id
    client.log_text(run, "text", "file.txt")
    assert sqlite_address(folder / "mlflow.db") == sqlite_address(folder / "mlflow.db")
    found = {path for path in folder.parent.rglob("*") if path.is_file()}
    artifact = folder / "mlartifacts" / run / "artifacts" / "file.txt"
    assert found == {folder / "mlflow.db", artifact}
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["50%41 off", "what?x=1"])
def test_the_ui_opens_the_database_from_inside_its_folder(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mlflow.db").touch()
    code = (
        "import os, sys, orchestrator.cli as cli\n"
        "os.execv = lambda program, command: print(os.getcwd(), *command[1:], sep='\\n')\n"
        "sys.argv = ['orchestrator', 'ui', sys.argv[1]]\n"
        "cli.main()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    told, cwd, *command = shown.stdout.splitlines()
    assert (told.startswith("MLflow UI on http://127.0.0.1:5000"), cwd) == (True, str(folder))
    assert command[:4] == ["-m", "mlflow", "ui", "--backend-store-uri"]
    assert command[4] == "sqlite:///mlflow.db"
