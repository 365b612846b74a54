"""A folder that holds a model: which of its files count, whether it is safe, what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from orchestrator.errors import ModelError
from orchestrator.models.known import accepted, suggestion
from orchestrator.storage import lfs
from orchestrator.storage.artifacts import MANIFEST, file_digest, key_digest, read_manifest

# What a model is loaded from. Pickled weights (.bin, .pt) and Python files are not among them.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def is_model_file(path: PurePath) -> bool:
    """Whether a model is loaded from a file; not the manifest.

    Args:
        path: relative to the model's folder.
    """
    # Besides the top level only the folders of sentence-transformers modules, as 1_Pooling: a
    # training output folder may hold many other models.
    *folders, name = path.parts
    inside = not folders or (len(folders) == 1 and fnmatchcase(folders[0], "[0-9]_*"))
    return inside and name != MANIFEST and any(fnmatchcase(name, kind) for kind in MODEL_FILES)


def model_files(folder: Path) -> list[Path]:
    """The files that a model is loaded from, sorted."""
    paths = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(p for p in paths if is_model_file(p.relative_to(folder)) and p.is_file())


def complete(folder: Path) -> bool:
    """Does a folder of the store hold all its files, by their sizes? An answer in an instant."""
    manifest = read_manifest(folder)
    return manifest is not None and all(
        (folder / name).is_file() and (folder / name).stat().st_size == entry["size"]
        for name, entry in manifest["files"].items()
    )


def fingerprint(folder: Path, *, recorded: bool = False) -> str:
    """SHA-256 over the names and contents of a model's files: the identity of its weights.

    Args:
        recorded: take digests from the folder's manifest where it lists a file. For a folder that
            `resolve` has just compared with it; otherwise a damaged or altered file would pass.

    Raises:
        ModelError: the folder holds no model.
    """
    files = model_files(folder)
    if not files:
        raise ModelError(f"{folder} holds no model: it has no config.json and no *.safetensors")
    known = _recorded(folder) if recorded else {}
    names = [path.relative_to(folder).as_posix() for path in files]
    with ThreadPoolExecutor() as pool:  # hashes are computed without Python's lock
        digests = pool.map(lambda name: known.get(name) or file_digest(folder / name), names)
        return key_digest(dict(zip(names, digests, strict=True)))


def _recorded(folder: Path) -> dict[str, str]:
    """Name -> SHA-256, from the manifest; empty where there is none of ours."""
    try:
        manifest = read_manifest(folder) or {"files": {}}
        return {name: file["sha256"] for name, file in manifest["files"].items()}
    except (AttributeError, KeyError, TypeError):  # a manifest.json of another program
        return {}


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that lacks a file, holds a pointer or half a file in place of one, holds an
    adapter, or asks for code of its own.

    Args:
        folder: the model's folder.
        what: how an error calls it.

    Raises:
        ModelError: what is wrong, and how to mend it.
    """
    if not (folder / "config.json").is_file():
        missing = "has no config.json" if folder.is_dir() else "does not exist"
        raise ModelError(f"{what} {missing}.{suggestion(folder.name)}\n{accepted()}")
    for path in model_files(folder):
        if lfs.is_pointer(path):
            raise ModelError(f"{what}: {path.relative_to(folder)} {lfs.ADVICE}")
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{what} holds a model and an adapter (adapter_config.json), and which of them is "
            "meant is not said. Merge the adapter first: PeftModel.from_pretrained(MODEL, "
            "FOLDER).merge_and_unload().save_pretrained(NEW_FOLDER)"
        )
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{what} has no *.safetensors. Weights in .bin or .pt are pickles, which can run "
            "code: they are not loaded. If you trust them, convert them once: "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    if not any([*folder.glob("tokenizer*"), *folder.glob("vocab*")]):
        raise ModelError(
            f"{what} has no tokenizer: write it there with tokenizer.save_pretrained(FOLDER)"
        )
    if script := next(folder.rglob("*.py"), None):
        raise ModelError(
            f"{what} brings code of its own ({script.name}), which is never run. If transformers "
            "knows this architecture, remove the file, and auto_map from config.json"
        )
    for path in (each for each in model_files(folder) if each.match("*config.json")):
        name, settings = path.relative_to(folder), _read_json(path, what)
        if "auto_map" in settings:
            raise ModelError(
                f"{what} asks for code of its own (auto_map in {name}), which is never run. "
                "If transformers knows this architecture, use a copy without auto_map"
            )
        for key, kernel in _kernels(settings):
            raise ModelError(
                f"{what} asks for the kernel {kernel} of the hub ({key} in {name}), which is code "
                "and never run. Use a copy without this key: model.attention says what computes"
            )
    if (folder / "modules.json").is_file():
        _check_modules(folder / "modules.json", what)
    _check_weights(folder, what)


def _kernels(settings: Any) -> Iterator[tuple[str, str]]:
    """Keys, in sections of any depth, under which transformers would load a repository's kernel."""
    if not isinstance(settings, dict):
        return
    for key, value in settings.items():
        named = value.values() if isinstance(value, dict) else [value]
        if key.endswith("_implementation"):
            yield from ((key, each) for each in named if isinstance(each, str) and "/" in each)
        yield from _kernels(value)


def _check_weights(folder: Path, what: str) -> None:
    """Files that were cut, or that the index names and that are not there: headers tell."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{what}: {path.name} is no whole safetensors file ({error}; it has "
                f"{path.stat().st_size:,} bytes): fetch it again"
            ) from None
    for index in folder.glob("*.safetensors.index.json"):
        listed = _read_json(index, what)
        parts = set(listed.get("weight_map", {}).values()) if isinstance(listed, dict) else set()
        _check_inside(parts, index.name, what)
        if missing := sorted(name for name in parts if not (folder / name).is_file()):
            raise ModelError(
                f"{what} lacks {', '.join(missing[:3])}, {len(missing)} of the {len(parts)} files "
                f"that {index.name} names: fetch it again"
            )


def _check_inside(names: Iterable[Any], where: str, what: str) -> None:
    """Names of files and folders of a model lead nowhere else."""
    for name in names:
        path = PurePath(str(name))
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(
                f"{what} names {str(name)!r} in {where}, which is no file of its own: use a copy "
                "with all files in its folder"
            )


def _check_modules(path: Path, what: str) -> None:
    """The modules.json of a sentence-transformers model names classes that are imported, and where
    their files are."""
    modules = _read_json(path, what)
    places = [module.get("path", "") for module in modules if isinstance(module, dict)]
    _check_inside(places, path.name, what)
    for module in modules:
        kind = str(module.get("type")) if isinstance(module, dict) else repr(module)
        if not kind.startswith("sentence_transformers."):
            raise ModelError(
                f"{what} asks for the class {kind} (modules.json), which is not one of "
                "sentence-transformers: code of a model is never run"
            )


def _read_json(path: Path, what: str) -> dict[str, Any] | list[Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{what}: {path.name} is not JSON ({error})") from error
    if not isinstance(value, dict | list):
        raise ModelError(f"{what}: {path.name} holds neither an object nor a list")
    return value
