"""Through `datasets`: a local folder, and a server that speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data.readers import fingerprint
from orchestrator.errors import DataError
from orchestrator.storage.lfs import SIGNATURE
from tests.data.conftest import contents, read_all, row, source
from tests.hub import COMMIT, TOKEN, HubHandler, serving

API = "/api/datasets/owner/tiny"
FILES = f"/datasets/owner/tiny/resolve/{COMMIT}/"
NUMBERED = {"id": None, "task": None}


class Hub(HubHandler):
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in (API, f"{API}/revision/{COMMIT}", f"{API}/revision/v1"):
            names = [{"rfilename": name} for name in self.files]
            self._json({"id": "owner/tiny", "sha": COMMIT, "tags": [], "siblings": names})
        elif path.startswith(f"{API}/tree/{COMMIT}"):
            self._json(self._listed(path.split(COMMIT)[1].strip("/")))
        elif path.startswith(FILES) and path.removeprefix(FILES) in self.files:
            self._send(200, self.files[path.removeprefix(FILES)])
        elif path == "/api/datasets/owner/echo":
            self._send(400, b"", {"X-Error-Message": f"refused {self.headers['Authorization']}"})
        else:
            code = "EntryNotFound" if "/owner/tiny/" in path else "RepoNotFound"
            self._send(404, b"", {"X-Error-Code": code})

    def _listed(self, folder):
        """The files and folders directly in a folder."""
        start = f"{folder}/" if folder else ""
        below = [name.removeprefix(start) for name in self.files if name.startswith(start)]
        inner = {name.split("/")[0] for name in below if "/" in name}
        return [
            *({"type": "directory", "path": start + name, "oid": "0" * 40} for name in inner),
            *(
                {
                    "type": "file",
                    "path": start + name,
                    "size": len(self.files[start + name]),
                    "oid": hashlib.sha1(self.files[start + name]).hexdigest(),
                }
                for name in below
                if "/" not in name
            ),
        ]


@pytest.fixture
def hub():
    with serving(Hub) as address:
        yield address


def read_from(endpoint, tmp_path, **options):
    """In a process of its own: huggingface_hub reads its environment when it is imported."""
    code = (
        "import json, sys; from tests.data.conftest import contents, read_all, source\n"
        "from orchestrator.data.readers import fingerprint\n"
        "from orchestrator.errors import DataError\n"
        "made = source('hf', **json.loads(sys.argv[1]))\n"
        "try: key, (found, _) = fingerprint(made), read_all(made)\n"
        "except DataError as error: print(error); sys.exit(2)\n"
        "print(json.dumps([key, [[i.id, *contents(i)] for i in found]]))"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", code, json.dumps(options)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, done.stdout.strip()


@pytest.mark.scenario("no-foreign-code")
def test_rows_of_the_hub_are_read_at_the_commit_that_is_in_the_fingerprint(hub, tmp_path):
    records = [{"prompt": f"q{i}", "completion": f"a{i}"} for i in range(3)]
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    Hub.files = {"README.md": b"# card\n", "data/train.jsonl": lines, "data/test.jsonl": lines[:35]}
    status, said = read_from(hub, tmp_path, name="owner/tiny", revision="v1", fields=NUMBERED)
    assert status == 0, said
    key, found = json.loads(said)
    assert found == [[f"train-{i + 1}", f"q{i}", f"a{i}"] for i in range(3)]
    assert key["content"] == COMMIT


@pytest.mark.scenario("secrets")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "owner/none"}, "the data set owner/none could not be read (RepositoryNotFound"),
        ({"name": "owner/tiny", "split": "dev"}, "dev"),
        ({"name": "owner/echo"}, "Bearer ***"),
    ],
)
def test_what_the_hub_does_not_have_is_said_without_the_token(hub, tmp_path, options, said):
    Hub.files = {"data/train.jsonl": b'{"prompt": "q", "completion": "a"}\n'}
    status, message = read_from(hub, tmp_path, **options)
    assert status == 2, message
    assert said in message
    assert "Give an id of the hub" in message


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(0), row(1)]), data / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist([row(2)]), data / "train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist([row(3)]), data / "test-00000-of-00001.parquet")
    return tmp_path / "set"


def test_a_folder_in_the_layout_of_the_hub_is_read_by_split(folder):
    found, _ = read_all(source("hf", name=str(folder)))
    assert [(i.id, i.task, contents(i)) for i in found] == [
        (f"i{n}", "t", [f"question {n}", "yes"]) for n in range(3)
    ]
    found, _ = read_all(source("hf", name=str(folder), split="test"))
    assert [i.id for i in found] == ["i3"]
    found, _ = read_all(source("hf", name=str(folder), split="test", fields=NUMBERED))
    assert [(i.id, i.task) for i in found] == [("test-1", "unlabelled")]
    with pytest.raises(DataError, match=r"could not be read .*dev"):
        read_all(source("hf", name=str(folder), split="dev"))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("train.jsonl", None, r"train\.jsonl holds a table \(Parquet\), and its name says \.jsonl: "
         r"rename it, or type {reader: parquet, path: .*train\.jsonl}"),
        ("train.parquet", b'{"prompt": "q"}\n', r"holds text, .*says \.parquet: .*reader: jsonl"),
        ("train.jsonl", b"prompt,completion\nq,a\n", r"holds no JSON, .*as train\.csv"),
        ("train.jsonl", b"PK\x03\x04....", "is a ZIP archive: unpack it"),
        ("train.parquet", b"", "holds no rows, it is empty"),
        ("train.jsonl", b"", "holds no rows, it is empty"),
        ("train.csv", b"", "holds no rows, it is empty"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_named(tmp_path, monkeypatch, name, data, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "set").mkdir()
    if data is None:
        pq.write_table(pa.Table.from_pylist([row(0)]), tmp_path / "set" / name)
    else:
        (tmp_path / "set" / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_all(source("hf", name=str(tmp_path / "set")))


def test_a_pointer_in_place_of_a_picture_is_no_matter(folder):
    (folder / "logo.png").write_bytes(SIGNATURE + b"v1\noid sha256:0\nsize 9\n")
    assert len(read_all(source("hf", name=str(folder)))[0]) == 3


def test_a_bad_row_of_a_folder_is_refused_or_skipped(folder):
    rows = [row(4, prompt="\0"), row(5), row(6, prompt="x" * 17_000_000)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"test row 1: prompt holds a NUL"):
        read_all(source("hf", name=str(folder), split="test"))
    found, counts = read_all(source("hf", name=str(folder), split="test", bad_records="skip"))
    assert [i.id for i in found] == ["i5"]
    assert counts.dropped == {"prompt holds a NUL": 1, "longer than 16 MiB": 1}


def test_the_fingerprint_of_a_folder_follows_its_files_and_not_its_place(folder):
    made = source("hf", name=str(folder))
    before = fingerprint(made)
    moved = folder.rename(folder.parent / "moved")
    assert fingerprint(source("hf", name=str(moved))) == before
    pq.write_table(pa.Table.from_pylist([row(9)]), moved / "data" / "train-00001-of-00002.parquet")
    assert fingerprint(source("hf", name=str(moved))) != before


@pytest.mark.scenario("no-foreign-code")
def test_code_that_comes_with_a_data_set_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "set").mkdir()
    witness = tmp_path / "ran"
    (tmp_path / "set" / "set.py").write_text(f"open({str(witness)!r}, 'w')")
    with pytest.raises(DataError, match="could not be read"):
        read_all(source("hf", name=str(tmp_path / "set")))
    assert not witness.exists()
