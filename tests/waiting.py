"""Waiting for other processes."""

import time
from contextlib import suppress

import psutil

# After so many seconds a test gives up: no claim about speed, so far above what a busy machine
# needs for a study.
PATIENCE = 900


def wait_until(condition, process=None, log=None, pause=0.05):
    """Wait until a condition holds.

    Args:
        process: fails the test with what it printed if it ends before that.
        log: file that the process prints to; None for a pipe.
        pause: seconds between two looks.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(log.read_text() if log else process.stdout.read())
        assert time.monotonic() < end, log.read_text() if log else "it took too long"
        time.sleep(pause)


def descendants_named(name, parent):
    """The descendants of a process whose command begins with a name, as Ray names its workers.

    Args:
        parent: number of the process.
    """
    found = []
    for each in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if " ".join(each.cmdline()).startswith(name):
                found.append(each)
    return found


def lives(process):
    """Whether a process is there, and not only its entry that nobody asks for.

    Args:
        process: psutil's, whose number another one may have by now.
    """
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
