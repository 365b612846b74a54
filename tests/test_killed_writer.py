"""Every place that writes, killed at each write: what it leaves, and how the next one goes on."""

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from unittest import mock

import pytest

from orchestrator.storage.artifacts import LEFT_SECONDS
from tests.disks import refusing
from tests.writers import WRITERS, anew, check_whole, files, moments

CLOCK = 1.7e9  # so that two attempts write the same
MOST = 12  # writes of one place at which it is killed


def write_until_killed(name, before, folder, moment):
    """Write in this process, which ends before its write of this number, from 0 on."""
    os.chdir(before.parent)
    WRITERS[name].prepare(Path(tempfile.mkdtemp(dir=before.parent)))  # for what it keeps in memory
    with mock.patch("time.time", return_value=CLOCK), refusing(folder, None, moment):
        WRITERS[name].write(folder)


@pytest.fixture(scope="module")
def processes():
    """Forks of a process in which no library has started threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.writers"])
    return context


@pytest.mark.scenario("kill-driver")
@pytest.mark.parametrize("name", WRITERS)
def test_at_every_write_a_kill_leaves_whole_files_and_the_next_attempt_finishes_them(
    name, processes, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.time", lambda: CLOCK)
    writer, before, folder = WRITERS[name], tmp_path / "before", tmp_path / "folder"
    before.mkdir()
    writer.prepare(before)
    anew(folder, before)
    with refusing(folder, None, None) as counted:
        writer.write(folder)
    after = files(folder)
    assert counted.seen
    for moment in moments(counted.seen, min(MOST, writer.tries)):
        anew(folder, before)
        process = processes.Process(target=write_until_killed, args=(name, before, folder, moment))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        hidden = {path for path in files(folder) if "/." in f"/{path}"}
        check_whole(
            {path: content for path, content in files(folder).items() if path not in hidden},
            files(before),
            after,
        )
        age(folder)
        writer.write(folder)
        assert files(folder) == after


def age(folder):
    """As if what is hidden in a folder had been there for longer than anything that is written."""
    long_ago = CLOCK - 2 * LEFT_SECONDS
    for path in folder.rglob(".*"):
        os.utime(path, (long_ago, long_ago))
