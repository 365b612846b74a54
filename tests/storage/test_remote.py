"""Artifacts that clusters share through object storage: whole or absent, never in the way."""

import io
import json
from contextlib import contextmanager

import pytest
from pyarrow import fs
from rich.console import Console

from orchestrator.errors import ConfigError
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import build, key_digest, sound
from orchestrator.storage.remote import ArtifactStore, RemoteStore, check_remote_store
from tests.conftest import answering

ADDRESS = "s3://team/shared"
FILES = {"data.npy": b"data", "lists/units.npy": b"lists" * 10_000, "empty": b""}
PLACE = f"team/shared/kind/{key_digest(1)[:16]}"


class Cluster:
    """A store of its own, and what its user was told."""

    def __init__(self, path, address=ADDRESS):
        self.told = io.StringIO()
        screen = Screen(Console(file=self.told, width=1000))
        self.remote = RemoteStore(address, screen)
        self.store = ArtifactStore(path, self.remote)
        self.made = 0

    def build(self, files=FILES, key=1):
        def make(folder):
            assert not any(folder.iterdir()), "something was left in the folder"
            self.made += 1
            return write(folder, files)

        return self.store.build("kind", key, make)


@pytest.fixture
def address(bucket):
    return f"{bucket.scheme}://team/shared"


@pytest.fixture
def cluster(address, tmp_path):
    """Clusters by name."""
    return lambda name: Cluster(tmp_path / name, address)


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return {"bytes": sum(map(len, files.values()))}


def content(artifact):
    assert sound(artifact.path)
    files = [path for path in artifact.path.rglob("*") if path.is_file()]
    found = {path.relative_to(artifact.path).as_posix(): path.read_bytes() for path in files}
    del found["manifest.json"]
    return found


def objects(bucket):
    """Every object of the remote store, by path."""
    listed = bucket.files.get_file_info(fs.FileSelector("team", recursive=True))
    return [file.path for file in listed if file.type == fs.FileType.File]


def replace_object(bucket, path, text):
    with bucket.files.open_output_stream(path) as stream:
        stream.write(text)


@contextmanager
def interrupted(tmp_path, files):
    """An artifact of which the last file cannot be copied."""
    artifact = build(tmp_path / "interrupted", "kind", 1, lambda folder: write(folder, files))
    last = artifact.path / max(files)
    kept = last.read_bytes()
    last.unlink()
    yield artifact
    last.write_bytes(kept)


def test_a_second_cluster_fetches_instead_of_building(cluster):
    first, second = cluster("first"), cluster("second")
    built, fetched = first.build(), second.build()
    assert (built.reused, fetched.reused) == (False, True)
    assert (first.made, second.made) == (1, 0)
    assert content(fetched) == content(built) == FILES
    assert fetched.info == built.info == {"bytes": 50_004}
    assert fetched.path != built.path
    assert not second.build(key=2).reused, "another key is another artifact"


def test_what_a_store_holds_is_used_where_it_is_and_is_shared_from_then_on(cluster, bucket):
    first = cluster("first")
    build(first.store.path, "kind", 1, lambda folder: write(folder, FILES))
    assert first.build().reused
    assert (first.made, cluster("second").build().reused) == (0, True)
    copied = objects(bucket)
    bucket.files.delete_file(copied.pop(0))
    assert first.build().reused
    assert objects(bucket) == copied, "it was copied again"


def test_an_artifact_that_was_damaged_in_the_store_is_fetched_again(cluster):
    first = cluster("first")
    (first.build().path / "data.npy").write_bytes(b"dada")
    again = first.build()
    assert content(again) == FILES
    assert (again.reused, first.made) == (True, 1)


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "no manifest", "half", "foreign"])
def test_a_damaged_remote_artifact_is_built_anew_and_replaced(cluster, bucket, damage):
    first, second = cluster("first"), cluster("second")
    artifact = first.build()
    manifest = (artifact.path / "manifest.json").read_bytes()
    damaged = f"{PLACE}/{json.loads(manifest)['files']['data.npy']['sha256']}"
    if damage in ("flip", "truncate"):
        replace_object(bucket, damaged, b"dada" if damage == "flip" else b"da")
    elif damage in ("delete", "no manifest"):
        bucket.files.delete_file(damaged if damage == "delete" else f"{PLACE}/manifest.json")
    else:
        other = json.dumps({"digest": key_digest(1), "files": {"data.npy": 1}}).encode()
        replace_object(
            bucket, f"{PLACE}/manifest.json", manifest[:-9] if damage == "half" else other
        )
    built = second.build()
    assert (content(built), built.reused, second.made) == (FILES, False, 1)
    assert cluster("third").build().reused
    assert second.told.getvalue() == ""


def test_a_copy_that_was_interrupted_is_no_artifact(cluster, bucket, tmp_path):
    first, second = cluster("first"), cluster("second")
    with interrupted(tmp_path, FILES) as artifact:
        first.remote.keep(artifact)
    assert len(objects(bucket)) == 2, "the files before the one that failed"
    assert not second.build().reused
    assert cluster("third").build().reused


@pytest.mark.scenario("two-runs")
def test_writers_with_different_bytes_never_mix(cluster, tmp_path):
    """What another writer does, to its end or not, leaves the first artifact whole."""
    first, second = ({"a": who, "b": who, "c": who} for who in (b"first", b"second"))
    cluster("first").build(first)
    with interrupted(tmp_path, second) as artifact:
        cluster("second").remote.keep(artifact)
        assert content(cluster("third").build()) == first
    cluster("second").remote.keep(artifact)
    assert content(cluster("fourth").build()) == second


@pytest.mark.scenario("names")
def test_a_manifest_that_names_a_file_elsewhere_is_no_artifact(cluster, bucket, tmp_path):
    cluster("first").build()
    with bucket.files.open_input_stream(f"{PLACE}/manifest.json") as stream:
        manifest = json.loads(stream.read())
    manifest["files"]["../../escaped"] = manifest["files"].pop("data.npy")
    replace_object(bucket, f"{PLACE}/manifest.json", json.dumps(manifest).encode())
    assert not cluster("second").build().reused
    assert not list(tmp_path.rglob("escaped"))


def test_a_bucket_that_goes_away_is_told_once_and_the_next_run_catches_up(cluster, bucket, address):
    first = cluster("first")
    first.build()
    bucket.files.delete_dir("team")
    assert [content(first.build(key=key)) for key in (2, 3)] == [FILES, FILES]
    (told,) = first.told.getvalue().splitlines()
    assert f"{address} cannot be written" in told
    bucket.files.create_dir("team")
    again = cluster("first")
    assert all(again.build(key=key).reused for key in (1, 2, 3))
    assert all(cluster("second").build(key=key).reused for key in (1, 2, 3))
    assert again.told.getvalue() == ""


@pytest.fixture
def refusing(s3, monkeypatch):
    """Storage that lets this user do nothing."""
    with answering(403) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield


def test_a_run_that_may_not_read_builds_and_says_so_once(refusing, tmp_path):
    first = Cluster(tmp_path)
    assert [first.build(key=key).reused for key in (1, 2, 1)] == [False, False, True]
    assert first.made == 2
    lines = first.told.getvalue().splitlines()
    assert [ADDRESS in line for line in lines] == [True, True], "once to read, once to write"


def test_a_remote_store_without_a_folder_yet_is_accepted(address):
    check_remote_store(address)
    check_remote_store(address + "/")


def test_a_bucket_that_is_not_there_is_refused_with_its_address(bucket):
    none = f"{bucket.scheme}://none/x"
    with pytest.raises(ConfigError, match=f"remote_store: {none} .*give a folder of a bucket"):
        check_remote_store(none)


def test_a_bucket_that_refuses_is_refused_with_its_address(refusing):
    with pytest.raises(ConfigError, match=r"remote_store: s3://team/shared cannot be read"):
        check_remote_store(ADDRESS)


def test_an_address_that_the_client_cannot_read_is_refused_like_any_other():
    with pytest.raises(ConfigError, match="remote_store: s3://té/x cannot be read"):
        check_remote_store("s3://té/x")


def test_storage_that_cannot_be_reached_is_refused_with_its_address(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"remote_store: s3://team/shared cannot be read"):
        check_remote_store(ADDRESS)
