"""Ray on this machine alone, for the time of a study."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray.job_config import JobConfig

from orchestrator.errors import ResourceError, first_line
from orchestrator.host.folders import ray_faults
from orchestrator.host.share import cores

OBJECT_STORE_BYTES = 256 * 2**20  # vectors and lists travel as files
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def local_ray(settings: dict[str, str]) -> Iterator[None]:
    """Ray's processes on this machine, which end with the block.

    Args:
        settings: environment of its workers.

    Raises:
        ResourceError: Ray does not start here.
    """
    if faults := ray_faults():
        raise ResourceError("\n".join(faults))
    # Nobody takes this machine away, and the watcher's process delays each trial's start.
    os.environ.update(settings | _imports() | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"})
    with _token():
        try:
            _start()
            yield
        finally:
            ray.shutdown()


def _start() -> None:
    # One CPU more than there are: drivers and shard tasks hardly compute, but a trial must never
    # wait for them. The dashboard is what frees a stopped trial's resources.
    try:
        ray.init(
            address="local",  # Ray would join what `ray start` left on this machine
            num_cpus=cores() + 1,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            # Otherwise workers look for modules in the working folder first, where a folder
            # datasets/ or a file torch.py of the user's would hide the library of that name.
            job_config=JobConfig(_client_job=True),
        )
    except Exception as error:
        raise ResourceError(
            f"Ray did not start on this machine: {first_line(error)}. Is there room for its files "
            "and may they be written? RAY_TMPDIR names another folder for them"
        ) from error


def _imports() -> dict[str, str]:
    """Lets workers import what this process imports, from where it does."""
    paths = [str(Path(path).absolute()) for path in sys.path]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONSAFEPATH": "1"}


@contextmanager
def _token() -> Iterator[None]:
    """A token for the block, where Ray cannot keep one in the home folder."""
    if any(os.environ.get(name) for name in TOKENS) or _may_keep_token():
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


def _may_keep_token() -> bool:
    folder = Path("~/.ray").expanduser()
    try:
        if (folder / "auth_token").is_file():
            return os.access(folder / "auth_token", os.R_OK)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):
        return False
