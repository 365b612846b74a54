"""Files that a study names: looked for beside the file that names them, then where a command runs.

Not for folders that a study writes: `output` and `store` are relative to the working folder.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

FILES = re.compile(
    r"data\.\w+\.(path|keys)|embedding\.(query_|held_out_)?(vectors|ids)"
    r"|arrangement\.options\.path|evaluation\.benchmarks\.path"
)
# Names that may be paths: those alone that begin with ./ or ../
NAMES = re.compile(r"model\.name|embedding\.model|evaluation\.generate\.reward_model")


def beside(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A study, or a part of one, with the files that lie beside it named from the working folder.

    Paths that name nothing below the folder stay as they are, and with them the names of trials.

    Args:
        tree: as it was parsed.
        folder: of the file that it stands in.
    """
    folder = folder.resolve()  # as the working folder is told: without links
    if folder == Path.cwd():
        return tree
    placed = {key: _placed(value, key, folder) for key, value in tree.items() if key != "sweep"}
    if "sweep" in tree:
        placed["sweep"] = _placed_sweep(tree["sweep"], folder)
    return {key: placed[key] for key in tree}


def _placed_sweep(sweep: Any, folder: Path) -> Any:
    """The settings of a sweep, whose keys are dotted and whose axes have a kind."""
    if not isinstance(sweep, dict):
        return sweep
    placed = dict(sweep)
    if isinstance(axes := sweep.get("parameters"), dict):
        placed["parameters"] = {
            key: {kind: _placed(values, key, folder) for kind, values in axis.items()}
            if isinstance(axis, dict)
            else _placed(axis, key, folder)
            for key, axis in axes.items()
        }
    if "paired" in sweep:
        placed["paired"] = _placed(sweep["paired"], "", folder)
    return placed


def _placed(value: Any, key: str, folder: Path) -> Any:
    """A value with its paths from the working folder; `key` is its own, dotted, without places in
    lists."""
    if isinstance(value, dict):
        return {
            name: _placed(inner, f"{key}.{name}".lstrip("."), folder)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_placed(inner, key, folder) for inner in value]
    if not isinstance(value, str):
        return value
    named = NAMES.fullmatch(key) is not None and value.startswith(("./", "../"))
    if not (named or FILES.fullmatch(key)) or not _is_below(value, folder):
        return value
    place, here = Path(os.path.normpath(folder / value)), Path.cwd()
    if not place.is_relative_to(here):
        return str(place)
    text = str(place.relative_to(here))
    return f"./{text}" if named else text  # owner/model would be one of the hub


def _is_below(path: str, folder: Path) -> bool:
    """Does a relative path, or a pattern, name something from a folder?"""
    if not path or Path(path).is_absolute() or path.startswith("~") or "://" in path:
        return False
    place = str(folder / path)
    return os.path.exists(place) or any(glob.iglob(place, recursive=True))
