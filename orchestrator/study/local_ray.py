"""Ray on this machine alone, for the time of a study."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

from orchestrator.errors import ResourceError, first_line
from orchestrator.host.folders import ray_faults
from orchestrator.study.fleet import local_cpus
from orchestrator.study.ray_death import local_death, told_if_ray_dies

OBJECT_STORE_BYTES = 256 * 2**20  # vectors and lists travel as files
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
MODE, ON_PURPOSE = "RAY_AUTH_MODE", "ORCHESTRATOR_RAY_AUTH_MODE"


@contextmanager
def local_ray(settings: dict[str, str]) -> Iterator[None]:
    """Ray's processes on this machine, which end with the block.

    Args:
        settings: environment of its workers.

    Raises:
        ResourceError: Ray does not start here, or would obey anybody.
        RayDied: it has died meanwhile.
    """
    if faults := ray_faults():
        raise ResourceError("\n".join(faults))
    if (mode := mode_without_token("token")) is not None:
        raise ResourceError(
            f"{MODE}={mode} lets every user and program of this machine run programs as you: unset "
            f"it, or set {ON_PURPOSE}={mode} as well"
        )
    # Nobody takes this machine away, and the watcher's process delays each trial's start.
    os.environ.update(settings | _imports() | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"})
    with _token(), _loopback():
        try:
            logs = _start()
        except BaseException:
            _shutdown()
            raise
        with told_if_ray_dies(local_death(logs), _shutdown):
            yield


def mode_without_token(default: str) -> str | None:
    """What RAY_AUTH_MODE is where Ray would obey anybody and nobody has said that it is meant.

    Args:
        default: what Ray takes where it is not set.
    """
    mode = os.environ.get(MODE, default)
    meant = mode.lower() == "token" or os.environ.get(ON_PURPOSE) == mode
    return None if meant else mode


def _start() -> Path:
    """Start it; returns the folder of its logs."""
    # The dashboard is what frees a stopped trial's resources.
    try:
        context: Any = ray.init(
            address="local",  # Ray would join what `ray start` left on this machine
            num_cpus=local_cpus(),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            # Otherwise workers look for modules in the working folder first, where a folder
            # datasets/ or a file torch.py of the user's would hide the library of that name.
            job_config=JobConfig(_client_job=True),
        )
        # Ray lets everybody read and write there, logs of runtime environments among it.
        session = Path(context.address_info["session_dir"])
        session.chmod(0o700)
    except Exception as error:
        raise ResourceError(
            f"Ray did not start on this machine: {first_line(error)}. Is there room for its files "
            "and may they be written? RAY_TMPDIR names another folder for them"
        ) from error
    return session / "logs"


def _shutdown() -> None:
    """End Ray's processes, also those that outlive a raylet which has lost its GCS."""
    left: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            left += child.children(recursive=True) if child.name() == "raylet" else []
    ray.shutdown()
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _imports() -> dict[str, str]:
    """Lets workers import what this process imports, from where it does."""
    paths = [str(Path(path).absolute()) for path in sys.path]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}


@contextmanager
def _loopback() -> Iterator[None]:
    """Lets what Ray starts in the block listen on 127.0.0.1 alone, as it does on Windows and macOS,
    where it has no clusters; an address for its node it would replace."""
    setting = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(setting)
    ray_constants.ENABLE_RAY_CLUSTER = False  # of this process, which may have imported Ray before
    os.environ[setting] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER, old = before
        os.environ.pop(setting)
        if old is not None:
            os.environ[setting] = old


@contextmanager
def _token() -> Iterator[None]:
    """A token for the block that no other user reads, where none is set."""
    if any(os.environ.get(name) for name in TOKENS) or _keeps_token():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="ray-token-") as private:  # no one else may enter it
        path = Path(private, "token")
        path.write_text(secrets.token_hex(32), encoding="ascii")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
        try:
            yield
        finally:
            del os.environ["RAY_AUTH_TOKEN_PATH"]


def _keeps_token() -> bool:
    """Whether the home folder has Ray's token, made if it is not there; Ray's own is for all."""
    path = Path("~/.ray/auth_token").expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(new, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32))
        path.chmod(0o600)
        return bool(path.read_text(encoding="ascii").strip())
    except (OSError, RuntimeError, UnicodeDecodeError):
        return False
