"""Ray on this machine: what its workers import, who may read its files, and whom it obeys."""

import os
import re
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

DRIVER = """
import os, psutil, sys
from orchestrator.study.cluster import cluster
with cluster(1):
    import ray

    @ray.remote
    def found():
        import colorsys, json, datasets, orchestrator
        return [m.__file__ for m in (colorsys, datasets, orchestrator)], os.getcwd()

    theirs, folder = ray.get(found.remote())
    import colorsys, datasets, orchestrator
    ours = [m.__file__ for m in (colorsys, datasets, orchestrator)]
    print(theirs == ours, folder == os.getcwd(), ray.cluster_resources()["CPU"])
    node = ray._private.worker._global_node
    print("session", node.get_session_dir_path())
    me = psutil.Process()
    sockets = [s for p in (me, *me.children(recursive=True)) for s in p.net_connections("inet")]
    listening = [s.laddr.ip.removeprefix("::ffff:") for s in sockets if s.status == "LISTEN"]
    print("listening", len(listening), *sorted({*listening}))
"""


@pytest.mark.scenario("ray")
@pytest.mark.ray
@pytest.mark.slow
def test_modules_of_the_working_folder_hide_no_library_and_the_home_is_not_needed(tmp_path):
    (tmp_path / "driver.py").write_text(DRIVER)
    work = tmp_path / "work"
    for name in ("datasets", "ray", "orchestrator"):
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own')")
    for name in ("torch", "json", "colorsys"):
        (work / f"{name}.py").write_text("raise RuntimeError('the user\\'s own')")
    environment = {**os.environ, "HOME": "/proc/none"}  # where nobody may write
    environment.pop("RAY_ADDRESS", None)
    ended = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-P", str(tmp_path / "driver.py")],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=work, env=environment,
    )  # fmt: skip
    assert ended.stdout.splitlines()[:1] == ["True True 2.0"], ended.stderr[-2000:]
    session = re.search(r"^session (.*)$", ended.stdout, flags=re.MULTILINE)[1]
    assert os.stat(session).st_mode & 0o077 == 0, "logs and sockets are for this user alone"
    ports, *listening = re.search(r"^listening (.*)$", ended.stdout, flags=re.MULTILINE)[1].split()
    assert int(ports) > 8, "of the GCS, the raylet, its agents, the dashboard and the workers"
    assert listening == ["127.0.0.1"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_folder_that_ray_cannot_use_is_told_in_a_sentence(tmp_path, monkeypatch):
    from orchestrator.errors import ResourceError
    from orchestrator.study.cluster import cluster

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ResourceError, match="set RAY_TMPDIR to a short folder"), cluster(1):
        pytest.fail("it started")


@pytest.mark.scenario("ray")
@pytest.mark.parametrize("mode", ["disabled", "Disabled", "no"])
def test_a_ray_that_would_obey_anybody_is_refused(monkeypatch, mode):
    from orchestrator.errors import ResourceError
    from orchestrator.study.local_ray import local_ray

    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with (
        pytest.raises(ResourceError, match=f"set ORCHESTRATOR_RAY_AUTH_MODE={mode} as well"),
        local_ray({}),
    ):
        pytest.fail("it started")


@pytest.mark.scenario("ray")
@pytest.mark.parametrize("there", [None, "a token that Ray made"])
def test_rays_token_is_for_this_user_alone(monkeypatch, tmp_path, there):
    from orchestrator.study.local_ray import _token

    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    if there:
        path.parent.mkdir()
        path.write_text(there)
    with _token():
        assert path.stat().st_mode & 0o077 == 0
        assert path.read_text() == there if there else len(path.read_text()) == 64


@pytest.mark.scenario("secrets")
def test_keys_of_the_driver_are_not_handed_to_trials():
    from ray.tune.execution.class_cache import _ActorClassCache

    import orchestrator.tune.run  # noqa: F401

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
        patch.setenv("AWS_SESSION_TOKEN", "canary")
        remote = _ActorClassCache().get(type("Trainable", (), {}))
    assert "canary" not in str(vars(remote))
