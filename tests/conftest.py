"""Storage: one that studies share, and servers that speak S3 and Google's protocol."""

import gc
import json
import os
import threading
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from pyarrow import fs

from orchestrator.host.garbage import collect_seldom
from tests.ports import free_ports

# Several studies share the cores: threads that wait for work must not take them from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# As `orchestrator.cli` does: half of the time of collecting the tests is spent on garbage.
collect_seldom()


def pytest_collection_finish():
    """Modules and tests stay: DeepSpeed, which collects for each engine, need not look at them."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Files with slow tests first: those that are left at the end take the workers no time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """What studies share whose artifacts are not what is tested: models, vectors, tokens."""
    base = tmp_path_factory.getbasetemp()
    # All test processes have one.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "store"
    folder.mkdir(exist_ok=True)
    return str(folder)


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


@contextmanager
def answering(status, body=b""):
    """A server that answers all requests alike; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def gs_server(tmp_path_factory):
    """The storage, its address, and a file of credentials for it."""
    from gcp_storage_emulator.server import create_server

    token = {"access_token": "any", "token_type": "Bearer", "expires_in": 3600}
    with answering(200, json.dumps(token).encode()) as tokens:
        user = {"type": "authorized_user", "client_id": "a", "client_secret": "b",
                "refresh_token": "c", "token_uri": tokens}  # fmt: skip
        credentials = tmp_path_factory.mktemp("google") / "credentials.json"
        credentials.write_text(json.dumps(user))
        (port,) = free_ports(1)
        started = create_server("127.0.0.1", port, in_memory=True)
        started.start()
        yield started, f"127.0.0.1:{port}", credentials
        started.stop()


@pytest.fixture
def gs(gs_server, monkeypatch):
    """As `s3`, of Google."""
    server, host, credentials = gs_server
    server.wipe()
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", f"http://{host}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
    storage = fs.GcsFileSystem(
        anonymous=True,
        scheme="http",
        endpoint_override=host,
        project_id="tests",
        retry_time_limit=timedelta(seconds=5),
    )
    storage.create_dir("team")
    return storage


@pytest.fixture(params=["s3", "gs"])
def bucket(request):
    """Storage of each kind: its `files`, and the `scheme` of its addresses."""
    return SimpleNamespace(files=request.getfixturevalue(request.param), scheme=request.param)
