"""`python -m orchestrator.cli` is the command `orchestrator`."""

from orchestrator.cli import main

if __name__ == "__main__":  # processes that are spawned import this module
    main()
