"""Models in object storage, against servers that speak S3 and Google's protocol."""

import pytest
from pyarrow import fs

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.models.names import check_access


@pytest.fixture
def original(tmp_path):
    return models.resolve("random:tiny-bert", tmp_path / "made")


@pytest.fixture
def address(bucket, original):
    """Of a tiny model, with things beside it that are none."""
    fs.copy_files(str(original), "team/tiny", destination_filesystem=bucket.files)
    for name in ("pytorch_model.bin", "checkpoint-1/config.json"):
        with bucket.files.open_output_stream(f"team/tiny/{name}") as stream:
            stream.write(b"{}")
    return f"{bucket.scheme}://team/tiny"


def test_a_model_in_a_bucket_is_copied_once_and_is_the_same_model(
    address, original, tmp_path, monkeypatch
):
    check_access(address, tmp_path / "store")
    found = models.resolve(address, tmp_path / "store")
    assert models.fingerprint(found) == models.fingerprint(original)
    assert (found / "1_Pooling" / "config.json").is_file()
    assert not list(found.rglob("*.bin"))
    assert not (found / "checkpoint-1").exists()
    for variable in ("AWS_ENDPOINT_URL", "CLOUD_STORAGE_EMULATOR_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert models.resolve(address, tmp_path / "store") == found
    check_access(address, tmp_path / "store")


def test_a_folder_without_a_model_is_refused_before_anything_slow_starts(bucket, tmp_path):
    other = f"{bucket.scheme}://team/other"
    with pytest.raises(ModelError, match=f"{other} (holds no model|cannot be read)"):
        check_access(other, tmp_path)


@pytest.mark.parametrize("name", ["s3://bucket", "s3://key:secret@bucket/model", "gs:///model"])
def test_an_address_without_a_folder_or_with_a_key_is_refused(name, tmp_path):
    with pytest.raises(ModelError, match="type s3://bucket/folder"):
        check_access(name, tmp_path)
