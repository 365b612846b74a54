"""A server that speaks S3, for whatever goes through object storage."""

import urllib.request

import pytest
from pyarrow import fs


@pytest.fixture(scope="session")
def s3_server():
    from moto.server import ThreadedMotoServer

    started = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"{host}:{port}"
    started.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """Storage, where the environment says it is, with the empty bucket `team` and no other."""
    reset = urllib.request.Request(f"http://{s3_server}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{s3_server}", "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    storage = fs.S3FileSystem(
        access_key="key", secret_key="secret", scheme="http", endpoint_override=s3_server,
        region="us-east-1", allow_bucket_creation=True, allow_bucket_deletion=True,
    )  # fmt: skip
    storage.create_dir("team")
    return storage
