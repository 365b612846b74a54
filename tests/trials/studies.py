"""Small studies and sweeps of them, and what holds of the names of their trials."""

import re
from pathlib import PurePosixPath, PureWindowsPath

from orchestrator.config import Study

DATA = {
    "pool": {"reader": "builtin", "split": "pool"},
    "query": {"reader": "builtin", "split": "query"},
}


def demo(sweep: dict | None = None, **sections) -> Study:
    return Study.model_validate({"study": "demo", "data": DATA, "sweep": sweep or {}, **sections})


def grid(**axes: list) -> dict:
    return {"parameters": {key.replace("__", "."): {"grid": axes[key]} for key in axes}}


def assert_safe(names: list[str]) -> None:
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,70}-[0-9a-f]{8}", name), name
        assert not PureWindowsPath(name).is_reserved()
        assert PurePosixPath("trials", name).parent == PurePosixPath("trials")
