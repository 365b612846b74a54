"""An MLflow server whose database is PostgreSQL, as a study is tracked."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_ports
from tests.tracking.fabricated import STEPS, Fabricated, tracking
from tests.tracking.held import held, points_held, undisturbed
from tests.tracking.server import start_server, stop_server
from tests.waiting import PATIENCE, wait_until


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


@pytest.mark.slow
@pytest.mark.skipif(
    programs() is None, reason="PostgreSQL is not installed: apt install postgresql"
)
def test_a_server_on_postgresql_holds_the_record_that_sqlite_holds(tmp_path):
    with postgresql() as database:
        (port,) = free_ports(1)
        uri = f"http://127.0.0.1:{port}"
        fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri})
        server = start_server(tmp_path / "server", port, database)
        try:
            with tracking(fabricated) as tracker:
                first, *others = fabricated.specs
                fabricated.train(first, 1, 3)
                wait_until(lambda: points_held(uri) > 0)
                fabricated.train(first, 4, STEPS)
                for spec in others:
                    fabricated.train(spec, 1, STEPS)
                tracker.update(fabricated.ended(tracker.record))
                assert tracker.close(PATIENCE) is None
            assert held(uri) == undisturbed(fabricated, tmp_path)
        finally:
            stop_server(server)
