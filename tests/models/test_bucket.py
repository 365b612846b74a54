"""Models in object storage, against a server that speaks S3."""

import pytest
from pyarrow import fs

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.models.names import check_access


@pytest.fixture
def bucket(s3, tmp_path):
    """A bucket with a tiny model, and things beside it that are none; its address."""
    folder = models.resolve("random:tiny-bert", tmp_path / "made")
    fs.copy_files(str(folder), "team/tiny", destination_filesystem=s3)
    for name in ("pytorch_model.bin", "checkpoint-1/config.json"):
        with s3.open_output_stream(f"team/tiny/{name}") as stream:
            stream.write(b"{}")
    return "s3://team/tiny", folder


def test_a_model_in_a_bucket_is_copied_once_and_is_the_same_model(bucket, tmp_path, monkeypatch):
    address, original = bucket
    check_access(address, tmp_path / "store")
    found = models.resolve(address, tmp_path / "store")
    assert models.fingerprint(found) == models.fingerprint(original)
    assert (found / "1_Pooling" / "config.json").is_file()
    assert not list(found.rglob("*.bin"))
    assert not (found / "checkpoint-1").exists()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert models.resolve(address, tmp_path / "store") == found
    check_access(address, tmp_path / "store")


def test_a_folder_without_a_model_is_refused_before_anything_slow_starts(bucket, tmp_path):
    with pytest.raises(ModelError, match=r"s3://team/other (holds no model|cannot be read)"):
        check_access("s3://team/other", tmp_path)


@pytest.mark.parametrize("name", ["s3://bucket", "s3://key:secret@bucket/model", "gs:///model"])
def test_an_address_without_a_folder_or_with_a_key_is_refused(name, tmp_path):
    with pytest.raises(ModelError, match="type s3://bucket/folder"):
        check_access(name, tmp_path)
