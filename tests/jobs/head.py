"""A Ray head of its own: token authentication, dashboard on the loopback address."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.ports import free_ports
from tests.waiting import PATIENCE, wait_until

BIN = Path(sys.executable).parent


class Head:
    """`ray start --head`, ended with all its processes by `stop`.

    Args:
        folder: of its token and log, and the home of its jobs.
        variables: further ones of its environment.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        # Ray's sockets lie below it, and their paths may have 107 characters.
        self.session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self.token = folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.token.chmod(0o600)
        port, dashboard, client, agent = free_ports(4)
        self.address = f"http://127.0.0.1:{dashboard}"
        self.port = port
        command = [
            BIN / "ray", "start", "--head", "--block", "--num-cpus=3", f"--port={port}",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={self.session}", "--object-store-memory=200000000",
        ]  # fmt: skip
        environment = self.environment() | {"HOME": str(folder)} | dict(variables or {})
        with (folder / "head.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self._wait()

    def environment(self, token: Path | None = None) -> dict[str, str]:
        """Of a program that uses this cluster."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        return kept | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token or self.token),
            "RAY_API_SERVER_ADDRESS": self.address,
        }

    def processes(self) -> list[psutil.Process]:
        """All that were started."""
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def stop(self) -> None:
        """End what was started, and nothing else."""
        every = self.processes()
        for process in every:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every, timeout=10)
        self._process.wait()
        shutil.rmtree(self.session, ignore_errors=True)

    def _wait(self) -> None:
        wait_until(self._answers, self._process, self.folder / "head.log", pause=1.0)

    def _answers(self) -> bool:
        listed = subprocess.run(
            [BIN / "ray", "job", "list"], env=self.environment(), capture_output=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip
        return listed.returncode == 0
