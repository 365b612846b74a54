"""Waiting for other processes."""

import time

# After so many seconds a test gives up: no claim about speed, so far above what a busy machine
# needs for a study.
PATIENCE = 900


def wait_until(condition, process=None):
    """Wait until a condition holds; a process that ends before it fails with its output."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)
