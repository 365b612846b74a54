"""The command `orchestrator`. No library is imported before it is known to be the library."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.host.garbage import collect_seldom
from orchestrator.host.shadows import check_modules


def main() -> None:
    """Entry point: a user's error is a message and exit code 2, never a traceback."""
    try:
        check_modules(Path.cwd(), joins=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    collect_seldom()
    from orchestrator.cli.commands import app
    from orchestrator.cli.endings import run_command

    run_command(app)
