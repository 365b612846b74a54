"""How a command ends that could not do what was asked: a sentence and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys

import typer
from rich.console import Console
from rich.markup import escape

from orchestrator.errors import UserError, crash
from orchestrator.host.proxies import ask_loopback_directly
from orchestrator.storage.disk import disk_error

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


def run_command(app: typer.Typer) -> None:
    """Run the command that was typed; a user's error is a message and exit code 2.

    Args:
        app: all commands.
    """
    if os.environ.get("RAY_JOB_STOP_SIGNAL") == "SIGINT":
        # A head that was started in the background hands down that SIGINT is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ask_loopback_directly()
    try:
        app()
    except UserError as error:
        _print_error(str(error))
        sys.exit(error.exit_code)
    except Exception as error:
        _end(error)


def _end(error: Exception) -> None:
    """End with a sentence where there is one for an error; any other is raised again."""
    if full := disk_error(error):
        _print_error(str(full))
        sys.exit(full.exit_code)
    if isinstance(error, OSError):
        # A file or folder that the user named: nothing of this program's own.
        if error.errno not in UNWRITABLE or error.filename is None:
            raise error
        _print_error(
            f"{error.filename}: {error.strerror}: give a place that this user can read and write"
        )
        sys.exit(UserError.exit_code)
    # What a worker met, Ray wraps into pages that begin with its own affairs.
    if not type(error).__module__.startswith("ray.") or not str(error).strip():
        raise error
    _print_error(f"a worker failed: {crash(error)}. The log of the study holds all that it said")
    sys.exit(1)


def _print_error(text: str) -> None:
    from orchestrator.screen import print_text

    print_text(Console(stderr=True, highlight=False), f"[red]error:[/] {escape(text)}")
