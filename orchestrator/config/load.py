"""From a study file, overlays and `--set key=value` to a `Study`, with all faults at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from orchestrator.config.axis import KINDS
from orchestrator.config.faults import dotted, explain, show
from orchestrator.config.overlay import Origins, laid_over, replaced
from orchestrator.config.places import beside
from orchestrator.config.schema import Study
from orchestrator.config.strict_yaml import MAX_BYTES, MAX_DEPTH, KeyPath, dump, parse
from orchestrator.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def load_study(path: Path, overrides: Sequence[str] = (), overlays: Sequence[Path] = ()) -> Study:
    """Reads and validates a study.

    Args:
        path: the YAML file, UTF-8, at most 1 MB.
        overrides: "dotted.key=value", the value in YAML; later ones win, and over any file.
        overlays: partial studies laid over it (see `overlay`); later ones win.

    Raises:
        ConfigError: all that is wrong, each fault with its file and line or its override.
    """
    raw, origins, faults = _parsed(path, "a study is `key: value` lines with study and data")
    for overlay in overlays:
        over, over_origins, more = _parsed(overlay, "an overlay is some `key: value` lines")
        faults += more
        raw, origins = laid_over(raw, origins, over, over_origins)
    return _validated(Study, raw, origins, overrides, faults)


def load_settings(model: type[Settings], overrides: Sequence[str]) -> Settings:
    """A section given by "dotted.key=value" alone.

    Raises:
        ConfigError: all that is wrong, each fault with its override.
    """
    return _validated(model, {}, {(): "--set"}, overrides, [])


def check_settings(model: type[Settings], values: dict[str, Any], origin: str) -> Settings:
    """A section given by its values.

    Args:
        origin: what a fault says of where they come from.

    Raises:
        ConfigError: all that is wrong.
    """
    return _validated(model, values, {(): origin}, [], [])


def _validated(
    model: type[Settings],
    raw: dict[str, Any],
    origins: Origins,
    overrides: Sequence[str],
    faults: list[str],
) -> Settings:
    for override in overrides:
        try:
            raw = _override(raw, origins, override)
        except ValueError as error:
            faults.append(f"--set {override.partition('=')[0]}: {error}")
    settings = None
    wrong = list(_eval_dictionaries(raw))
    try:
        settings = model.model_validate(raw)
    except ValidationError as error:
        wrong += explain(error, model)
    faults += [f"{_origin(origins, key)}: {sentence}" for key, sentence in wrong]
    if faults or settings is None:
        raise ConfigError(faults)
    return settings


def dump_yaml(model: BaseModel) -> str:
    """A resolved study or trial as YAML in the order of its schema; loads back as an equal one."""
    left_open: dict[str, Any] = {}
    if isinstance(model, Study) and "max_length" not in model.embedding.model_fields_set:
        # Its trials may read as many tokens as they train on, which they say themselves.
        left_open["embedding"] = {"max_length"}
    return dump(model.model_dump(mode="json", exclude=left_open))


def _parsed(path: Path, expected: str) -> tuple[dict[str, Any], Origins, list[str]]:
    """A file as a mapping, with the files that lie beside it found, where its keys were written,
    and what is wrong with it as YAML.

    Raises:
        ConfigError: it holds no mapping.
    """
    raw, lines, broken = parse(_read(path))
    faults = [f"{path} line {line}: {sentence}" for line, sentence in broken]
    if not isinstance(raw, dict):
        what = "is empty" if raw is None else f"holds {show(raw)}"
        raise ConfigError(faults or [f"{path} {what}: {expected}"])
    return (
        beside(raw, path.parent),
        {key: f"{path} line {line}" for key, line in lines.items()} | {(): str(path)},
        faults,
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        names = [str(other) for other in path.parent.glob("*.y*ml")]
        near = difflib.get_close_matches(str(path), names, n=1)
        hint = f"did you mean {near[0]}?" if near else "give the path of a study, as in study.yaml"
        raise ConfigError([f"{path} does not exist: {hint}"]) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([f"{path} cannot be read ({reason}): give a YAML file"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path} is larger than {MAX_BYTES:,} bytes: a study is a short file"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not UTF-8 text at byte {error.start}: save it so"]) from None


def _override(raw: dict[str, Any], origins: Origins, override: str) -> dict[str, Any]:
    """Applies one `key=value`; its origin never repeats the value, which may be a password."""
    key, equals, text = override.partition("=")
    path = _split(key.strip())
    if not equals or "" in path:
        raise ValueError("write --set key=value, with dots between the parts of the key")
    if len(path) > MAX_DEPTH:
        raise ValueError(f"no key has more than {MAX_DEPTH} parts")
    value, _, faults = parse(text)
    if faults:
        raise ValueError("; ".join(sentence for _, sentence in faults))
    result = replaced(raw, path, value)
    for old in [known for known in origins if known[: len(path)] == path]:
        del origins[old]
    for depth in range(1, len(path)):
        origins.setdefault(path[:depth], f"--set {key}")
    origins[path] = f"--set {key}"
    return result


def _split(key: str) -> tuple[str, ...]:
    """The parts of a dotted key; the keys of sweep.parameters have dots of their own."""
    axis = key.removeprefix("sweep.parameters.")
    if axis == key:
        return tuple(key.split("."))
    name, _, last = axis.rpartition(".")
    return ("sweep", "parameters", *((name, last) if name and last in KINDS else (axis,)))


def _eval_dictionaries(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Ray Tune runs the text of any {eval: "..."} that it meets: none may get near it."""
    if isinstance(value, dict):
        if isinstance(value.get("eval"), str):
            yield (*path, "eval"), f"{dotted((*path, 'eval'))} would be run as code: leave it out"
        for key, child in value.items():
            yield from _eval_dictionaries(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _eval_dictionaries(child, (*path, index))


def _origin(origins: Origins, path: KeyPath) -> str:
    """The place where a key was written; of a missing one, that of the section it belongs to."""
    return next(
        origins[path[:depth]] for depth in range(len(path), -1, -1) if path[:depth] in origins
    )
