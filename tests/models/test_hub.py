"""Against a small server that speaks the part of the hub's protocol that a download needs."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from orchestrator.models import fingerprint, resolve
from tests.hub import COMMIT, TOKEN, HubHandler, serving

STEP = "3000" * 10  # the commit of the branch step3000
LICENSED = {
    "/api/models/owner/licensed": {"id": "owner/licensed", "sha": COMMIT, "gated": "manual"},
    "/api/models/owner/licensed/auth-check": {},
}


class Hub(HubHandler):
    files: ClassVar[dict[str, bytes]] = {}
    earlier: ClassVar[dict[str, bytes]] = {}  # those of the branch
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        path = self.path.split("?")[0]
        self.asked.append(path)
        commits = {COMMIT: self.files, STEP: self.earlier}
        facts, _, asked = path.partition("/revision/")
        if facts == "/api/models/owner/tiny":
            found = {"": COMMIT, "step3000": STEP, STEP: STEP}.get(asked)
            if found:
                self._json({"id": "owner/tiny", "sha": found})
            else:
                self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif path == "/api/models/owner/tiny/refs":
            pulls = [{"name": f"refs/pr/{n}", "ref": f"refs/pr/{n}", "targetCommit": commit}
                     for n, commit in ((4, STEP), (12, COMMIT), (11, STEP))]  # fmt: skip
            self._json({"branches": [], "converts": [], "tags": [], "pullRequests": pulls})
        elif tree := re.fullmatch(r"/api/models/owner/tiny/tree/(\w+)", path):
            files = commits[tree[1]]
            self._json([self._entry(name, content) for name, content in files.items()])
        elif file := re.fullmatch(r"/owner/tiny/resolve/(\w+)/(.+)", path):
            self._send(200, commits[file[1]][file[2]], {"X-Repo-Commit": file[1]})
        elif path == "/api/models/owner/gated":  # its facts are public, its files are not
            self._json({"id": "owner/gated", "sha": COMMIT, "gated": "manual"})
        elif path == "/api/models/owner/gated/auth-check":
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path in LICENSED:
            self._json(LICENSED[path])
        elif path == "/api/models/owner/expired":
            message = f"Invalid credentials: {self.headers['Authorization']}"
            self._send(401, b"", {"X-Error-Message": message})
        elif path == "/api/models/owner/echo":
            self._send(400, b"", {"X-Error-Message": f"refused {self.headers['Authorization']}"})
        else:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _entry(self, name, content):
        oid = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": name, "size": len(content), "oid": oid}


@pytest.fixture
def hub():
    Hub.files, Hub.earlier, Hub.asked = {}, {}, []
    with serving(Hub) as address:
        yield address


def _resolve(name, tmp_path, endpoint, token=TOKEN, ask="resolve"):
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    code = (
        "import sys, pathlib; from orchestrator import models\n"
        "from orchestrator.errors import ModelError\n"
        f"try: print(models.{ask}(sys.argv[1], pathlib.Path(sys.argv[2])))\n"
        "except ModelError as error: print(error); sys.exit(2)"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", code, name, str(tmp_path / "store")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert TOKEN not in done.stdout + done.stderr
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    assert done.stderr == ""
    return done.returncode, done.stdout.strip()


@pytest.mark.scenario("no-foreign-code")
def test_a_model_is_fetched_once_with_its_commit_and_nothing_but_model_files(hub, tmp_path):
    source = resolve("random:tiny-bert", tmp_path / "source")
    model = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    Hub.files = {**model, "pytorch_model.bin": b"pickle", "modeling.py": b"", "README.md": b"# A"}

    status, said = _resolve("owner/tiny", tmp_path, hub)

    assert status == 0, said
    (folder,) = (tmp_path / "store" / "models").iterdir()
    assert said == str(folder)
    assert fingerprint(folder) == fingerprint(source)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT
    assert set(manifest["files"]) == set(model)
    assert not any(path.endswith((".bin", ".py", ".md")) for path in Hub.asked)

    before = list(Hub.asked)
    assert _resolve("owner/tiny", tmp_path, hub) == (status, said)
    assert Hub.asked == before


@pytest.mark.scenario("stale-artifact")
def test_a_revision_is_another_model_and_is_kept_with_the_commit_that_it_stood_for(hub, tmp_path):
    def files(seed):
        folder = resolve(f"random:tiny-bert:{seed}", tmp_path / "source")
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "manifest.json"
        }

    Hub.files, Hub.earlier = files(1), files(2)
    folders = {}
    for name in ("owner/tiny", "owner/tiny@step3000", f"owner/tiny@{STEP}"):
        assert _resolve(name, tmp_path, hub, ask="check_access") == (0, "None")
        status, said = _resolve(name, tmp_path, hub)
        assert status == 0, said
        folders[name] = Path(said)
    main, branch, commit = folders.values()
    seeds = [resolve(f"random:tiny-bert:{seed}", tmp_path / "source") for seed in (1, 2)]
    assert fingerprint(main) == fingerprint(seeds[0]) != fingerprint(branch)
    assert fingerprint(branch) == fingerprint(commit) == fingerprint(seeds[1])
    kept = [json.loads((folder / "manifest.json").read_text()) for folder in folders.values()]
    assert [manifest["revision"] for manifest in kept] == [COMMIT, STEP, STEP]
    before = list(Hub.asked)
    assert _resolve("owner/tiny@step3000", tmp_path, hub) == (0, str(branch))
    assert Hub.asked == before


@pytest.mark.parametrize("ask", ["resolve", "check_access"])
def test_a_revision_that_there_is_not_is_said_with_where_they_stand(hub, tmp_path, ask):
    status, said = _resolve("owner/tiny@step3001", tmp_path, hub, ask=ask)
    assert status == 2
    assert "owner/tiny has no such revision: type a commit, or a branch or tag" in said
    assert f"{hub}/owner/tiny/tree/main" in said


@pytest.mark.scenario("weights", "no-foreign-code")
@pytest.mark.parametrize(
    ("files", "answer"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"pickle"}, "no *.safetensors"),
        (
            {
                "config.json": b'{"auto_map": {"AutoModel": "modeling.Mine"}}',
                "model.safetensors": b"",
                "tokenizer.json": b"{}",
                "modeling.py": b"raise SystemExit",
            },
            "auto_map",
        ),
    ],
)
def test_a_model_that_is_unsafe_to_load_does_not_reach_the_store(hub, tmp_path, files, answer):
    Hub.files = files
    status, said = _resolve("owner/tiny", tmp_path, hub)
    assert status == 2
    assert answer in said
    assert list((tmp_path / "store" / "models").iterdir()) == []


def test_pull_requests_that_bring_safetensors_are_named_and_not_taken(hub, tmp_path):
    Hub.files = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}
    Hub.earlier = {"config.json": b"{}", "model.safetensors": b"weights"}
    status, said = _resolve("owner/tiny", tmp_path, hub)
    assert status == 2
    assert "as pull requests: owner/tiny@refs/pr/11, owner/tiny@refs/pr/4." in said
    assert "look at who did" in said
    assert not any(path.endswith(".safetensors") for path in Hub.asked)


@pytest.mark.parametrize("ask", ["resolve", "check_access"])
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("owner/gated", "accept its licence"),
        ("owner/expired", "The token that is set has no right to it"),
        ("owner/none", "no model that the hub shows to you"),
        ("smollm2-135", "Did you mean smollm2-135m?"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(hub, tmp_path, name, answer, ask):
    status, said = _resolve(name, tmp_path, hub, ask=ask)
    assert status == 2
    assert name in said
    assert answer in said
    assert not any("/resolve/" in path for path in Hub.asked)


def test_a_gated_model_without_a_token_names_its_licence_page_and_the_variable(hub, tmp_path):
    status, said = _resolve("owner/gated", tmp_path, hub, token="", ask="check_access")
    assert status == 2
    for part in ("No token is set", f"{hub}/owner/gated", f"{hub}/settings/tokens", "HF_TOKEN"):
        assert part in said


def test_access_is_asked_without_a_download_and_not_at_all_for_what_is_here(hub, tmp_path):
    assert _resolve("owner/licensed", tmp_path, hub, ask="check_access") == (0, "None")
    about = [path for path in Hub.asked if path.startswith("/api/models")]
    assert about == ["/api/models/owner/licensed", "/api/models/owner/licensed/auth-check"]
    assert not any("/resolve/" in path for path in Hub.asked)

    source = resolve("random:tiny-llama", tmp_path / "source")
    Hub.files = {path.name: path.read_bytes() for path in source.iterdir()}
    assert _resolve("owner/tiny", tmp_path, hub)[0] == 0
    before = list(Hub.asked)
    for name in ("owner/tiny", "random:tiny-llama", "smollm2-135m", str(source)):
        assert _resolve(name, tmp_path, hub, ask="check_access") == (0, "None")
    assert Hub.asked == before


@pytest.mark.scenario("secrets")
def test_a_token_that_the_server_quotes_is_not_shown(hub, tmp_path):
    status, said = _resolve("owner/echo", tmp_path, hub)
    assert status == 2
    assert "Bearer ***" in said


def test_without_a_hub_an_unknown_name_fails_in_seconds_and_lists_what_is_there(tmp_path):
    started = time.monotonic()
    status, said = _resolve("all-MiniLM-L6", tmp_path, "http://127.0.0.1:9")
    assert time.monotonic() - started < 20
    assert status == 2
    assert "Did you mean all-MiniLM-L6-v2?" in said
    for alternative in ("smollm2-135m", "random:tiny-llama", "./my-model", "owner/model"):
        assert alternative in said
