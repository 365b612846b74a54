"""Models in object storage, against a server that speaks S3."""

import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs as pafs

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.models.names import check_access


@pytest.fixture(scope="module")
def server():
    started = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    started.start()
    yield f"http://{started.get_host_and_port()[0]}:{started.get_host_and_port()[1]}"
    started.stop()


@pytest.fixture
def bucket(server, tmp_path, monkeypatch):
    """A bucket with a tiny model, and things beside it that are none; its address."""
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    host = server.removeprefix("http://")
    s3 = pafs.S3FileSystem(
        access_key="key", secret_key="secret", scheme="http", endpoint_override=host,
        region="us-east-1", allow_bucket_creation=True,
    )  # fmt: skip
    s3.create_dir("models")
    folder = models.resolve("random:tiny-llama", tmp_path / "made")
    pafs.copy_files(str(folder), "models/tiny", destination_filesystem=s3)
    for name in ("pytorch_model.bin", "checkpoint-1/config.json"):
        with s3.open_output_stream(f"models/tiny/{name}") as stream:
            stream.write(b"{}")
    return "s3://models/tiny", folder


def test_a_model_in_a_bucket_is_copied_once_and_is_the_same_model(bucket, tmp_path, monkeypatch):
    address, original = bucket
    check_access(address, tmp_path / "store")
    found = models.resolve(address, tmp_path / "store")
    assert models.fingerprint(found) == models.fingerprint(original)
    assert not list(found.rglob("*.bin"))
    assert not (found / "checkpoint-1").exists()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert models.resolve(address, tmp_path / "store") == found
    check_access(address, tmp_path / "store")


def test_a_folder_without_a_model_is_refused_before_anything_slow_starts(bucket, tmp_path):
    with pytest.raises(ModelError, match=r"s3://models/other (holds no model|cannot be read)"):
        check_access("s3://models/other", tmp_path)


@pytest.mark.parametrize("name", ["s3://bucket", "s3://key:secret@bucket/model", "gs:///model"])
def test_an_address_without_a_folder_or_with_a_key_is_refused(name, tmp_path):
    with pytest.raises(ModelError, match="type s3://bucket/folder"):
        check_access(name, tmp_path)
