"""Ray's workers on this machine import what the driver imports."""

import os
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE

DRIVER = """
import os, sys
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
"""


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
    assert ended.stdout.splitlines()[-1:] == ["True True 2.0"], ended.stderr[-2000:]


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
