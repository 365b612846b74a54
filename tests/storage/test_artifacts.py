"""An artifact is complete or absent, and is built once."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.storage.artifacts import LEFT_SECONDS, build, key_digest, scratch_beside, sound


def writer(text, calls=None):
    def make(folder):
        if calls is not None:
            calls.append(1)
        (folder / "data.txt").write_text(text)
        return {"length": len(text)}

    return make


def test_the_second_build_reads_what_the_first_one_wrote(tmp_path):
    calls = []
    first = build(tmp_path, "kind", {"a": 1}, writer("hello", calls))
    second = build(tmp_path, "kind", {"a": 1}, writer("hello", calls))
    assert (first.reused, second.reused) == (False, True)
    assert calls == [1]
    assert second.info == {"length": 5}
    assert (second.path / "data.txt").read_text() == "hello"


@pytest.mark.scenario("stale-artifact")
def test_another_key_is_another_artifact_and_key_order_does_not_matter(tmp_path):
    first = build(tmp_path, "kind", {"a": 1, "b": 2}, writer("x"))
    assert build(tmp_path, "kind", {"a": 2, "b": 2}, writer("y")).path != first.path
    assert build(tmp_path, "kind", {"b": 2, "a": 1}, writer("z")).reused


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest"])
def test_a_damaged_artifact_is_built_again(tmp_path, damage):
    first = build(tmp_path, "kind", 1, writer("hello"))
    data = first.path / "data.txt"
    if damage == "flip":
        data.write_text("hellp")
    elif damage == "truncate":
        data.write_text("hel")
    elif damage == "delete":
        data.unlink()
    else:
        (first.path / "manifest.json").write_text('{"files": ')
    assert not sound(first.path)
    again = build(tmp_path, "kind", 1, writer("hello"))
    assert not again.reused
    assert data.read_text() == "hello"


@pytest.mark.scenario("full-disk")
def test_a_builder_that_fails_leaves_nothing_behind(tmp_path):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build(tmp_path, "kind", 1, fail)
    assert list((tmp_path / "kind").iterdir()) == []


@pytest.mark.scenario("two-runs")
def test_builders_that_race_agree_on_one_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: build(tmp_path, "kind", 1, writer("same")), range(8)))
    assert len({artifact.path for artifact in made}) == 1
    assert [child.name for child in (tmp_path / "kind").iterdir()] == [made[0].path.name]
    assert sound(made[0].path)


def test_the_manifest_tells_what_determined_the_artifact(tmp_path):
    artifact = build(tmp_path, "kind", {"seed": 3}, writer("x"))
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert manifest["key"] == {"seed": 3}
    assert manifest["digest"] == key_digest({"seed": 3})


def test_a_key_that_json_cannot_tell_apart_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        key_digest(float("nan"))


@pytest.mark.scenario("kill-driver")
def test_what_a_killed_build_left_is_removed_and_what_is_being_built_stays(tmp_path):
    path, old = tmp_path / "kind" / "aa", time.time() - 2 * LEFT_SECONDS
    killed, other = path.parent / ".aa-killed", path.parent / ".ab-of-another-artifact"
    for folder in (killed, other):
        folder.mkdir(parents=True)
        os.utime(folder, (old, old))
    with scratch_beside(path) as first:
        assert not killed.exists()
        assert other.exists()
        os.utime(first, (old, old))
        with scratch_beside(path) as second:
            assert first.is_dir(), "its process lives"
            assert second != first
    assert list(path.parent.iterdir()) == [other]
