"""The signs of life of a rank, as another process reads them."""

import threading
import time
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from orchestrator.storage.files import HEARTBEATS_FOLDER
from orchestrator.training import heartbeat
from orchestrator.training.heartbeat import (
    LOADING,
    beat,
    forget_heartbeats,
    heartbeats,
    read_heartbeats,
)
from orchestrator.training.step import Feeder
from orchestrator.tune.hangs import Silence
from tests.training.launch import launch
from tests.waiting import wait_until


@pytest.mark.scenario("frozen-rank")
def test_a_rank_that_does_nothing_gives_signs_and_counts_no_work(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "WRITE_SECONDS", 0.01)
    beat("before anybody watches")
    with heartbeats(tmp_path, rank=3):
        (first,) = read_heartbeats(tmp_path)
        assert (first.rank, first.done, first.doing) == (3, 0, LOADING)
        wait_until(lambda: read_heartbeats(tmp_path)[0].written > first.written + 1)
        assert read_heartbeats(tmp_path)[0].done == 0
        beat("in a step")
        beat()
        wait_until(lambda: read_heartbeats(tmp_path)[0].done == 2)
        assert read_heartbeats(tmp_path)[0].doing == "in a step"
        assert read_heartbeats(tmp_path)[0].ended == [LOADING]
    assert not (tmp_path / HEARTBEATS_FOLDER).exists()


def test_what_a_killed_rank_left_is_forgotten(tmp_path):
    (tmp_path / HEARTBEATS_FOLDER).mkdir()
    (tmp_path / HEARTBEATS_FOLDER / "rank-0.json").write_text("{")
    assert read_heartbeats(tmp_path) == []
    forget_heartbeats(tmp_path)
    assert not list((tmp_path / HEARTBEATS_FOLDER).iterdir())


def hanging(rank, there, until):
    """Let the second rank wait in its fifth forward pass until a file is there."""
    if rank != 1:
        return
    real, calls = Feeder._forward, []

    def forward(*args):
        calls.append(args)
        while len(calls) == 5 and not Path(until).exists():
            Path(there).touch()
            time.sleep(0.05)
        return real(*args)

    mock.patch.object(Feeder, "_forward", forward).start()


@pytest.mark.slow
@pytest.mark.scenario("frozen-rank")
def test_of_two_ranks_the_one_that_hangs_is_told_and_the_one_that_waits_for_it_is_not(
    make_spec, tmp_path
):
    there, until = tmp_path / "there", tmp_path / "until"
    spec = make_spec(range(18), training={"global_batch": 2, "workers": 2})
    trained = threading.Thread(
        target=launch,
        args=(spec,),
        kwargs={"ranks": 2, "prepare": partial(hanging, there=there, until=until)},
    )
    trained.start()
    silence, told, looked = Silence(timeout=4.0), {}, time.monotonic()
    try:
        while not told:
            assert trained.is_alive()
            time.sleep(0.2)
            now = time.monotonic()
            told, looked = silence.look(read_heartbeats(spec.folder), now - looked), now
            assert there.exists() or not told, "slow is not hung"
    finally:
        until.touch()
        trained.join()
    assert list(told) == [1]
    assert told[1].startswith("hangs in a step: ")
    assert (spec.folder / "result.json").is_file(), "it went on"
    assert not (spec.folder / HEARTBEATS_FOLDER).exists()
