"""What is offloaded is page-locked where that can be done, and elsewhere it is told why not."""

import os
import resource

import pytest

from orchestrator.training import pinned
from orchestrator.training.pinned import UNLIMITED, lock_offloaded, may_lock

SOME = 8 * 2**20


@pytest.mark.parametrize(
    ("soft", "hard", "may"),
    [(SOME, SOME, False), (SOME, UNLIMITED, True), (UNLIMITED, UNLIMITED, True)],
)
def test_a_process_locks_memory_up_to_its_hard_limit(monkeypatch, soft, hard, may):
    limits = [(soft, hard)]

    def setrlimit(_, wanted):
        if wanted[1] != limits[-1][1]:
            raise ValueError("not allowed to raise maximum limit")
        limits.append(wanted)

    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    assert may_lock() == may


@pytest.mark.parametrize(
    ("limit", "told"), [(False, "ulimit -l"), (True, "allocator cannot be compiled")]
)
def test_what_cannot_be_locked_is_offloaded_all_the_same(monkeypatch, caplog, limit, told):
    monkeypatch.setattr(pinned, "may_lock", lambda: limit)
    monkeypatch.setenv("PATH", "")  # no compiler
    monkeypatch.delenv("DS_PIN_MEMORY_BACKEND", raising=False)
    assert not lock_offloaded()
    assert told in caplog.text
    assert "DS_PIN_MEMORY_BACKEND" not in os.environ
