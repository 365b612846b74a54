"""`orchestrator ui`: MLflow's pages, for this machine alone."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.storage.files import DATABASE_FILE, TRACKING_FILE

HOST = "127.0.0.1"
SETTINGS = {
    # No module of the folder hides one of MLflow's, and nothing that lies there is unpickled.
    "PYTHONSAFEPATH": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Nobody is told, and no processes wait for jobs of which there are none.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def open_ui(folder: Path, port: int) -> None:
    """Become MLflow's server for the database of an output folder, or of one of its studies.

    Raises:
        UserError: there is no database, or another program has the port.
    """
    databases = [path / DATABASE_FILE for path in (folder, folder.parent)]
    database = next((path.resolve() for path in databases if path.is_file()), None)
    if database is None:
        raise UserError(f"{folder} holds no {DATABASE_FILE}: give the output folder of a run")
    _check_port(port)
    pages = _pages(database, folder)
    print(f"MLflow UI on http://{HOST}:{port} (Ctrl-C ends it)")
    for study, page in pages:
        print(f"{study}: http://{HOST}:{port}/{page}")
    sys.stdout.flush()
    # From inside the folder, whose name may hold what an address cannot: %, ? or #.
    os.chdir(database.parent)
    os.environ.update(SETTINGS)
    uri = f"sqlite:///{database.name}"
    # One process answers: there is one user, and four that begin at once on a busy machine are
    # given up and begun again before they are ready.
    arguments = ["ui", "--backend-store-uri", uri, "--workers", "1"]
    arguments += ["--host", HOST, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *arguments])  # noqa: S606


def _pages(database: Path, folder: Path) -> list[tuple[str, str]]:
    """The studies of a database and their pages: of a study's folder that of the study alone."""
    from orchestrator.tracking import landing_pages, read_record, view_name

    pages = landing_pages(database)
    if (folder / TRACKING_FILE).is_file():
        own = view_name(read_record(folder))
        pages = {name: page for name, page in pages.items() if name == own}
    return list(pages.values())


def _check_port(port: int) -> None:
    """Refuse a port that is taken: its address would lead to another program's pages."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except (OSError, OverflowError) as error:
            with socket.socket() as other:
                other.bind((HOST, 0))
                free = other.getsockname()[1]
            raise UserError(
                f"port {port} cannot be had ({error}): give another, as in --port {free}"
            ) from None
