"""MLflow's database lies beside the studies, whatever the folder is called."""

import socket
import subprocess
import sys

import pytest
from mlflow import environment_variables
from mlflow.tracking import MlflowClient

from orchestrator.cli.ui import SETTINGS
from orchestrator.tracking.experiment import sqlite_address
from tests.ports import free_ports


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


def ui(folder, port):
    """What `orchestrator ui` prints, with its folder and MLflow's arguments in MLflow's place."""
    code = (
        "import os, sys, orchestrator.cli as cli\n"
        "os.execv = lambda program, command: print(os.getcwd(), *command[1:], sep='\\n')\n"
        "sys.argv = ['orchestrator', 'ui', sys.argv[1], '--port', sys.argv[2]]\n"
        "cli.main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), str(port)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_port_of_another_program_is_refused_before_its_address_is_shown(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        shown = ui(tmp_path, port)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert f"port {port} cannot be had" in shown.stderr
    assert "give another, as in --port" in shown.stderr


@pytest.mark.scenario("mlflow")
def test_the_ui_unpickles_nothing_tells_nobody_and_waits_for_no_jobs():
    for name in SETTINGS.keys() - {"PYTHONSAFEPATH"}:
        assert hasattr(environment_variables, name), "MLflow knows another name"
    assert SETTINGS["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


@pytest.mark.scenario("mlflow")
def test_the_ui_opens_the_database_from_inside_its_folder(tmp_path, empty_database):
    folder = empty_database.parent.rename(tmp_path / "50%41 off?x=1")
    (port,) = free_ports(1)
    told, cwd, *command = ui(folder, port).stdout.splitlines()
    assert (told.startswith(f"MLflow UI on http://127.0.0.1:{port} "), cwd) == (True, str(folder))
    assert "--workers" in command
    assert command[-4:] == ["--host", "127.0.0.1", "--port", str(port)]
    assert command[:4] == ["-m", "mlflow", "ui", "--backend-store-uri"]
    assert command[4] == "sqlite:///mlflow.db"
