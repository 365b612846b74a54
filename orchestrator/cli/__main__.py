"""`python -m orchestrator.cli` is the command `orchestrator`."""

import sys
from pathlib import Path

# Python puts the working folder first on its path. Whatever of the user's is called like a library
# there must not hide it; only where this package itself lies in that folder is it needed.
if sys.path and not sys.flags.safe_path and Path(sys.path[0] or ".").resolve() != (
    Path(__file__).resolve().parents[2]
):  # fmt: skip
    del sys.path[0]

from orchestrator.cli import main

if __name__ == "__main__":  # processes that are spawned import this module
    main()
