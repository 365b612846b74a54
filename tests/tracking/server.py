"""An MLflow server of its own for a test."""

import subprocess
import sys
import urllib.request

import psutil

from tests.waiting import wait_until


def start_server(folder, port, store=None):
    """`mlflow server` on loopback; returns once it answers.

    Args:
        store: address of its database; None for SQLite in the folder.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
             "--port", str(port), "--workers", "1", "--backend-store-uri",
             store or f"sqlite:///{folder / 'server.db'}", "--artifacts-destination",
             str(folder / "artifacts")],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    wait_until(lambda: _answers(port), process, folder / "server.log", pause=0.2)
    return process


def _answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True


def stop_server(process):
    every = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for each in every:
        each.kill()
    psutil.wait_procs(every, timeout=30)
    process.wait()
