"""The cluster that a study joins."""

import signal
import subprocess
import sys
import time

import pytest

from orchestrator.errors import ResourceError
from orchestrator.host.stop_signal import signals_kept, stop_on_sigterm
from orchestrator.study.cluster import _settings, cluster
from tests.ports import free_ports


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "http://127.0.0.1:8265", "ray://head:1"])
def test_an_address_where_no_cluster_is_joined_is_told_soon(address, monkeypatch):
    address = address.format(port=free_ports(1)[0])
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    began = time.monotonic()
    told = f"at RAY_ADDRESS={address} .*RAY_AUTH_TOKEN_PATH"
    with pytest.raises(ResourceError, match=told), cluster(1):
        pytest.fail("it was joined")
    assert time.monotonic() - began < 30  # Ray's own attempts take minutes


@pytest.mark.scenario("ray")
@pytest.mark.parametrize("mode", [None, "disabled", "Disabled"])
def test_no_cluster_is_joined_without_a_token_unless_that_is_meant(mode, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    meant = f"ORCHESTRATOR_RAY_AUTH_MODE={mode or 'disabled'}$"
    with pytest.raises(ResourceError, match=f"joined without a token.*{meant}"), cluster(1):
        pytest.fail("it was joined")
    monkeypatch.setenv("ORCHESTRATOR_RAY_AUTH_MODE", mode or "disabled")
    with pytest.raises(ResourceError, match="no cluster can be joined"), cluster(1):
        pytest.fail("it was joined")  # nobody is there


@pytest.mark.scenario("no-pickles")
def test_ray_does_not_unpickle_data_whatever_the_environment_says(monkeypatch):
    name = "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE"
    assert _settings(1)[name] == "0"
    monkeypatch.setenv(name, "1")
    with pytest.raises(ResourceError, match=f"{name} lets data .* run code: unset it"), cluster(1):
        pytest.fail("it started")


@pytest.mark.parametrize("own", [None, "max_split_size_mb:128"])
def test_ranks_take_growing_segments_of_a_gpus_memory_unless_the_user_says_how(own, monkeypatch):
    if own is None:
        monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    else:
        monkeypatch.setenv("PYTORCH_ALLOC_CONF", own)
    assert _settings(1)["PYTORCH_ALLOC_CONF"] == (own or "expandable_segments:True")


@pytest.mark.scenario("stop-signal")
@pytest.mark.parametrize("ignored", [False, True])
def test_sigterm_ends_what_runs_as_ctrl_c_does_and_does_nothing_the_second_time(ignored):
    closed = []

    def run():
        stop_on_sigterm()
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            closed.append(True)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    if ignored:  # as a shell has it for what it starts in the background
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), signals_kept(signal.SIGTERM):
            run()
    finally:
        signal.signal(signal.SIGINT, before[1])
    assert closed
    assert signal.getsignal(signal.SIGTERM) == before[0]


@pytest.mark.scenario("read-only")
def test_storage_that_a_node_may_only_read_is_not_shared(tmp_path):
    mark, other = tmp_path / "mark", tmp_path / "other"
    mark.touch()
    script = (
        "import sys; from pathlib import Path; from orchestrator.study.cluster import _missing; "
        "mark, other = map(Path, sys.argv[1:]); "
        "print(*(path.name for path in _missing._function([mark], [mark, other])))"
    )
    asked = [sys.executable, "-c", script, mark, other]
    mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && "$@"'
    apart = ["unshare", "--mount", "sh", "-c", mounts, tmp_path]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("a private mount needs root")
    for command, missing in ((asked, "other"), ([*apart, *asked], "mark other")):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == missing
    assert list(tmp_path.iterdir()) == [mark]
