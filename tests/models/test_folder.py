import json
import os
import shutil

import pytest

from orchestrator.errors import ModelError
from orchestrator.models import fingerprint, resolve, validate_name
from orchestrator.storage.lfs import SIGNATURE


@pytest.fixture
def folder(tmp_path):
    """A model folder as a user has it: no manifest."""
    stored = resolve("random:tiny-bert", tmp_path / "store")
    mine = tmp_path / "mine"
    shutil.copytree(stored, mine, ignore=shutil.ignore_patterns("manifest.json"))
    return mine


def _set(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _make_pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _module(folder, **values):
    modules = json.loads((folder / "modules.json").read_text())
    modules[1] |= values
    (folder / "modules.json").write_text(json.dumps(modules))


def _point(path):
    path.write_bytes(SIGNATURE + b"v1\noid sha256:" + b"a" * 64 + b"\nsize 269060552\n")


def _cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def _index(folder, second="model-00002-of-00002.safetensors"):
    parts = ["model-00001-of-00002.safetensors", second]
    (folder / "model.safetensors").rename(folder / parts[0])
    index = {"weight_map": dict(zip("ab", parts, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.scenario("no-foreign-code", "names")
@pytest.mark.parametrize(
    ("spoil", "answer"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (_make_pickle, "save_pretrained(NEW_FOLDER)"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "has no tokenizer"),
        (lambda f: (f / "modeling.py").write_text("raise SystemExit"), "modeling.py"),
        (lambda f: (f / "1_Pooling" / "code.py").write_text(""), "code.py"),
        (lambda f: _set(f / "config.json", auto_map={"AutoModel": "x.Y"}), "auto_map"),
        (lambda f: _set(f / "tokenizer_config.json", auto_map={}), "tokenizer_config.json"),
        (lambda f: _module(f, type="os.path.Pooling"), "os.path.Pooling"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "merge_and_unload()"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "modules.json").write_text('["x"]'), "modules.json"),
        (lambda f: _point(f / "model.safetensors"), "model.safetensors is a Git LFS pointer"),
        (lambda f: _point(f / "tokenizer.json"), "tokenizer.json is a Git LFS pointer"),
        (lambda f: _point(f / "config.json"), "git lfs pull"),
        (lambda f: _cut(f / "model.safetensors", 1000), "no whole safetensors file"),
        (lambda f: _cut(f / "model.safetensors", -1), "no whole safetensors file"),
        (lambda f: _cut(f / "model.safetensors", 0), "fetch it again"),
        (lambda f: _index(f, "../outside.safetensors"), "names '../outside.safetensors' in model."),
        (lambda f: _index(f, "/etc/passwd"), "names '/etc/passwd' in model.safetensors.index.json"),
        (lambda f: _module(f, path="../other"), "names '../other' in modules.json"),
        (
            lambda f: _set(f / "config.json", _attn_implementation="owner/kernel"),
            "asks for the kernel owner/kernel of the hub (_attn_implementation in config.json)",
        ),
        (
            lambda f: _set(f / "config.json", text={"experts_implementation": {"": "a/b"}}),
            "asks for the kernel a/b of the hub",
        ),
        (_index, "lacks model-00002-of-00002.safetensors, 1 of the 2 files"),
    ],
)
def test_a_folder_that_is_incomplete_or_brings_code_is_refused(folder, tmp_path, spoil, answer):
    validate_name(str(folder))
    spoil(folder)
    with pytest.raises(ModelError) as refused:
        validate_name(str(folder))
    assert answer in str(refused.value)
    assert str(folder) in str(refused.value)
    with pytest.raises(ModelError):
        resolve(str(folder), tmp_path / "store")


def test_the_fingerprint_is_the_same_with_and_without_a_manifest(folder, tmp_path):
    assert fingerprint(folder) == fingerprint(resolve("random:tiny-bert", tmp_path / "store"))


@pytest.mark.scenario("stale-artifact")
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
)
def test_the_fingerprint_changes_with_each_file_that_is_loaded(folder, name):
    before = fingerprint(folder)
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert fingerprint(folder) != before


def test_the_fingerprint_ignores_other_files(folder):
    before = fingerprint(folder)
    (folder / "README.md").write_text("about")
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "model.safetensors").write_bytes(b"other")
    (folder / "manifest.json").write_text('{"files": ["of another program"]}')
    assert fingerprint(folder) == before


def test_the_fingerprint_is_that_of_the_bytes_and_not_of_a_manifest_beside_them(tmp_path):
    stored = resolve("random:tiny-bert", tmp_path / "store")
    copy = shutil.copytree(stored, tmp_path / "copy")
    _flip(copy / "model.safetensors")
    assert fingerprint(copy) != fingerprint(stored)


def _flip(path):
    """Change one bit; size and time stamp stay as they are."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.scenario("damaged-artifact")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_stored_model_with_a_damaged_bit_is_made_anew(tmp_path, name):
    stored = resolve("random:tiny-bert", tmp_path / "store")
    before = fingerprint(stored)
    _flip(stored / name)
    assert fingerprint(resolve("random:tiny-bert", tmp_path / "store")) == before


def test_an_empty_folder_has_no_fingerprint(tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        fingerprint(tmp_path)
