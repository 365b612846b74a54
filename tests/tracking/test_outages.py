"""A server that is killed, or never answers, delays no trial and loses nothing of the record."""

import io
import socket
import time
from dataclasses import replace

import pytest

from orchestrator.tracking import sync
from tests.conftest import answering
from tests.ports import free_ports
from tests.tracking.fabricated import STEPS, Fabricated, tracking
from tests.tracking.held import held, points_held, undisturbed
from tests.tracking.server import start_server, stop_server
from tests.waiting import wait_until


@pytest.mark.scenario("mlflow-outage")
@pytest.mark.slow
def test_a_server_killed_in_the_middle_ends_with_the_record_of_an_undisturbed_one(tmp_path):
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    orders = {"arrangement.order": {"grid": ["nearest_first", "random"]}}
    fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri}, sweep={"parameters": orders})
    server = start_server(tmp_path / "server", port)
    slowest, screen = 0.0, io.StringIO()
    try:
        with tracking(fabricated, screen) as tracker:
            first, *others = fabricated.specs
            fabricated.train(first, 1, 3)
            wait_until(lambda: points_held(uri) > 0)
            stop_server(server)
            for spec in [first, *others]:
                began = time.monotonic()
                fabricated.train(spec, 4 if spec is first else 1, STEPS)
                slowest = max(slowest, time.monotonic() - began)
            time.sleep(5)  # passes that fail
            tracker.update(fabricated.ended(tracker.record))
            began = time.monotonic()
            unsent = tracker.close(2.0)
            assert time.monotonic() - began < 4
        assert screen.getvalue().count(f"{uri}: it does not answer") == 1
        assert slowest < 2, "a trial waited for the server"
        assert unsent.points >= len(others) * (7 * STEPS + 2)
        assert unsent.files >= len(others) * 6
        assert f"confirmed on {uri} (it does not answer): run `orchestrator sync" in str(unsent)
        assert str(sync(fabricated.folder)).endswith("The study's folder holds all of it")
        server = start_server(tmp_path / "server", port)
        assert sync(fabricated.folder) is None
        found = held(uri)
        assert found == undisturbed(fabricated, tmp_path)
        assert sync(fabricated.folder) is None
        assert held(uri) == found, "a second time sends nothing twice"
    finally:
        stop_server(server)


@pytest.mark.scenario("mlflow-outage")
def test_a_server_that_accepts_and_never_answers_delays_nobody(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri})
        began = time.monotonic()
        with tracking(fabricated) as tracker:
            fabricated.train_all()
            tracker.update(fabricated.ended(tracker.record))
            assert time.monotonic() - began < 3
            unsent = tracker.close(0.5)
        assert time.monotonic() - began < 5
    # Counted as the folder is now, not as it was when the request began.
    assert unsent.points == len(fabricated.specs) * (7 * STEPS + 2)
    assert unsent.files == len(fabricated.specs) * 6 + 4
    assert unsent.runs == len(fabricated.specs) + 1


@pytest.mark.scenario("mlflow-outage")
def test_a_server_that_answers_with_errors_delays_nobody_and_is_sent_all_of_it_later(tmp_path):
    screen = io.StringIO()
    with answering(500, b"out of order") as uri:
        fabricated = Fabricated(tmp_path / "out", tracking={"uri": uri})
        began = time.monotonic()
        with tracking(fabricated, screen) as tracker:
            fabricated.train_all()
            tracker.update(fabricated.ended(tracker.record))
            assert time.monotonic() - began < 3
            wait_until(lambda: "Training goes on, the record is sent later" in screen.getvalue())
            unsent = tracker.close(1.0)
    assert unsent.points == len(fabricated.specs) * (7 * STEPS + 2)
    assert unsent.runs == len(fabricated.specs) + 1
    assert "(it does not answer)" in str(unsent)
    replace(tracker.record, uri=None).write(fabricated.folder)  # mended, under another address
    assert sync(fabricated.folder) is None
    assert held(f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}") == undisturbed(fabricated, tmp_path)
