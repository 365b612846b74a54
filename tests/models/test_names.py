import json
import subprocess
import sys
import time

import pytest

from orchestrator.config.training import Model
from orchestrator.errors import ModelError
from orchestrator.models import fingerprint, is_path, resolve, validate_name


def test_a_finished_model_is_not_built_again(tmp_path):
    first = resolve("random:tiny-llama:5", tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}

    second = resolve("random:tiny-llama:5", tmp_path)

    assert second == first
    assert {path.name: path.stat().st_mtime_ns for path in second.iterdir()} == before


def test_no_seed_means_seed_0(tmp_path):
    assert resolve("random:tiny-llama", tmp_path) == resolve("random:tiny-llama:0", tmp_path)


def test_the_seed_determines_the_weights(tmp_path):
    once = resolve("random:tiny-llama:1", tmp_path / "a")
    again = resolve("random:tiny-llama:1", tmp_path / "b")
    other = resolve("random:tiny-llama:2", tmp_path / "a")
    assert fingerprint(once) == fingerprint(again)
    assert fingerprint(once) != fingerprint(other)


def test_the_manifest_says_what_the_folder_is(tmp_path):
    folder = resolve("random:tiny-llama:3", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["name"] == "random:tiny-llama:3"
    assert manifest["source"]["seed"] == 3
    assert manifest["revision"].startswith("torch ")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(manifest["files"])


@pytest.mark.parametrize("left", ["half_written_folder", "file_missing", "file_truncated"])
def test_what_an_interrupted_or_damaged_write_left_is_replaced(tmp_path, left):
    whole = resolve("random:tiny-llama", tmp_path / "whole")
    folder = resolve("random:tiny-llama", tmp_path / "store")
    weights = folder / "model.safetensors"
    if left == "half_written_folder":
        (folder / "manifest.json").unlink()
        weights.write_bytes(b"half")
    elif left == "file_missing":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1])

    assert resolve("random:tiny-llama", tmp_path / "store") == folder
    assert fingerprint(folder) == fingerprint(whole)
    assert weights.read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_temporary_folder_of_a_killed_process_is_never_taken_for_the_model(tmp_path):
    whole = resolve("random:tiny-llama", tmp_path / "whole")
    left = tmp_path / "store" / "models" / f".{whole.name}-killed" / "model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")

    folder = resolve("random:tiny-llama", tmp_path / "store")

    assert folder != left
    assert fingerprint(folder) == fingerprint(whole)


@pytest.mark.scenario("two-runs")
@pytest.mark.slow
def test_two_processes_at_once_agree_and_leave_nothing_behind(tmp_path):
    code = (
        "import sys, pathlib; from orchestrator.models import fingerprint, resolve; "
        "folder = resolve('random:tiny-llama', pathlib.Path(sys.argv[1])); "
        "print(folder, fingerprint(folder))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0].splitlines()[-1] for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert [path.name for path in (tmp_path / "models").iterdir()] == [
        said[0].split()[0].rsplit("/", 1)[1]
    ]


def test_a_local_folder_is_used_in_place(tmp_path, monkeypatch):
    folder = resolve("random:tiny-llama", tmp_path / "store")
    (tmp_path / "owner").mkdir()
    mine = folder.rename(tmp_path / "owner" / "model")
    monkeypatch.chdir(tmp_path)
    for name in [str(mine), "./owner/model", "owner/model"]:
        assert resolve(name, tmp_path / "other") == mine
    assert not (tmp_path / "other").exists()


@pytest.mark.scenario("names")
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("random:tiny-lama", "Did you mean random:tiny-llama?"),
        ("random:huge", "Presets are tiny-llama"),
        ("random:tiny-llama:one", "type random:tiny-llama:1"),
        ("random:tiny-llama:1:2", "type random:tiny-llama:1"),
        ("random:tiny-llama:-1", "type random:tiny-llama:1"),
        ("./no-such-folder", "does not exist"),
        ("../../etc/passwd", "does not exist"),
        ("a/b/c", "does not exist"),
        ("C:\\models\\mine", "does not exist"),
        ("all minilm", "is not a model name"),
        ("", "is not a model name"),
        ("-owner/model", "is not a model name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(tmp_path, name, answer):
    with pytest.raises(ModelError) as refused:
        validate_name(name)
    assert answer in str(refused.value)
    with pytest.raises(ModelError):
        resolve(name, tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "smollm2-135m", "random:llama-2-7b:9", "owner/model", "gpt2"]
)
def test_a_name_that_can_be_passes_without_network(name):
    validate_name(name)


def test_names_are_checked_without_importing_torch():
    code = (
        "import sys; from orchestrator.models import validate_name; "
        "validate_name('random:tiny-llama'); "
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("smollm2-135m", "its package is pinned"),
        ("random:tiny-llama", "it is drawn from its seed"),
        ("s3://team/model", "it is a folder in a bucket"),
        ("./mine", "it is a local folder"),
        ("owner/mine", "it is a local folder"),
    ],
)
def test_a_revision_of_what_has_none_is_refused_with_why(tmp_path, monkeypatch, name, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "mine").mkdir(parents=True)
    reference = Model(name=name, revision="step3000").reference
    with pytest.raises(ModelError, match=f"has no revision step3000, {why}: leave model.revision"):
        validate_name(reference)


def test_the_revisions_that_the_hub_has_are_names_and_no_paths(tmp_path, monkeypatch):
    for revision in ("step3000", "refs/pr/1", "stage1-step1000-tokens3B", "0123abc" * 5 + "01234"):
        reference = Model(name="owner/model", revision=revision).reference
        validate_name(reference)
        assert not is_path(reference)
    monkeypatch.chdir(tmp_path)
    resolve("random:tiny-llama", tmp_path / "store").rename(tmp_path / "mine@home")
    validate_name("./mine@home")
    validate_name("mine@home")
    assert is_path("mine@home")


@pytest.mark.parametrize("revision", ["", "-x", "a b", "a@b", "a?b"])
def test_what_is_no_revision_is_refused_in_the_study_file(revision):
    with pytest.raises(ValueError, match="revision"):
        Model(name="owner/model", revision=revision)
