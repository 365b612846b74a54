"""An MLflow server whose database is PostgreSQL, for one run of a tiny study."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.ports import free_ports
from tests.studies import orchestrate, write_study
from tests.tracking.server import start_server, stop_server
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def programs():
    """Folder of initdb and pg_ctl, in Debian's place or on the path; None without PostgreSQL."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    on_path = shutil.which("initdb")
    places += [Path(on_path).parent] if on_path else []
    return next((place for place in places if (place / "initdb").is_file()), None)


@contextmanager
def postgresql():
    """A database server on a socket in a private folder, without a port; yields its address.

    It refuses to run as root: then it runs as Debian's user for it.
    """
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    user = []
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    data = home / "data"

    def call(program, *arguments):
        subprocess.run(
            [*user, programs() / program, *arguments],
            check=True, capture_output=True, cwd=home, timeout=PATIENCE,
        )  # fmt: skip

    try:
        call("initdb", "-D", data, "-U", "mlflow", "--auth=trust")
        listen = f"-c listen_addresses='' -c unix_socket_directories={home}"
        call("pg_ctl", "-D", data, "-o", listen, "-l", home / "log", "-w", "start")
        try:
            call("createdb", "-h", home, "-U", "mlflow", "mlflow")
            yield f"postgresql://mlflow@/mlflow?host={home}"
        finally:
            call("pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.skipif(
    programs() is None, reason="PostgreSQL is not installed: apt install postgresql"
)
def test_a_study_is_tracked_by_a_server_on_postgresql(tmp_path, store):
    sweep = {"parameters": {"seed": {"grid": [0, 1]}}}
    arrangement = {"method": "random", "rows": 16}
    path = write_study(tmp_path, store=store, arrangement=arrangement, sweep=sweep)
    with postgresql() as database:
        (port,) = free_ports(1)
        server = start_server(tmp_path / "server", port, database)
        try:
            address = f"http://127.0.0.1:{port}"
            done = orchestrate(
                "run", path, "--output", tmp_path / "out", "--set", f"tracking.uri={address}"
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "not sent" not in done.stdout
            client = MlflowClient(address)
            experiment = client.get_experiment_by_name("tiny")
            runs = client.search_runs([experiment.experiment_id])
            assert len(runs) == 1 + 2
            assert {run.info.status for run in runs} == {"FINISHED"}
            (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
            files = {entry.path for entry in client.list_artifacts(parent.info.run_id)}
            assert {"summary.csv", "study.yaml", "report"} <= files
            for run in runs:
                if run is not parent:
                    steps = client.get_metric_history(run.info.run_id, "query_loss")
                    assert [point.step for point in steps] == [0, 2, 4]
        finally:
            stop_server(server)
