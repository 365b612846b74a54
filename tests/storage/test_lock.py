"""One process at a time writes into a study's folder, and a dead one locks nobody out."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from orchestrator.cli.commands import sync
from orchestrator.errors import DataError, UserError
from orchestrator.storage.lock import LOCK_FILE, locked
from orchestrator.study.run import run_study
from tests.tracking.fabricated import Fabricated

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.storage.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.scenario("two-runs")
def test_a_second_process_is_told_who_works_there_until_that_one_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        told = f"in use by process {holder.pid} on {socket.gethostname()} since 20"
        for _ in range(2):  # being refused leaves the holder's name there
            with pytest.raises(UserError, match=told), locked(tmp_path):
                pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with locked(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / LOCK_FILE).read_text()


@pytest.mark.scenario("names")
def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match="is a link to another file"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_lock_ends_with_its_block_whatever_ends_it(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path / "made"):
            raise ZeroDivisionError


@pytest.mark.scenario("two-runs")
def test_a_study_that_runs_is_neither_run_nor_sent_a_second_time(tmp_path):
    fabricated = Fabricated(tmp_path)
    fabricated.record().write(fabricated.folder)
    with locked(fabricated.folder):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match="in use by process"):
            run_study(fabricated.study)
        with pytest.raises(UserError, match="in use by process"):
            sync(fabricated.folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_no_studys_gets_no_lock(tmp_path):
    with pytest.raises(DataError, match=r"tracking\.json"):
        sync(tmp_path)
    assert not list(tmp_path.iterdir())
