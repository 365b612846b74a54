"""Files that are written once, with their own digest, and never changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchestrator.errors import DataError
from orchestrator.storage.artifacts import key_digest, write_json

SEAL = "sha256"  # of everything else in the file, as canonical JSON


def write_sealed(path: Path, value: dict[str, Any]) -> str:
    """Write JSON with its digest, which is returned.

    Raises:
        FileExistsError: it was written before.
        ValueError: for NaN or infinity, which JSON does not know.
    """
    if path.exists():
        raise FileExistsError(path)
    digest = key_digest(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**value, SEAL: digest})
    return digest


def read_sealed(path: Path) -> dict[str, Any]:
    """What was written, the digest among it.

    Raises:
        DataError: the file is not what was written.
    """
    try:
        value = json.loads(path.read_bytes())
        rest = {key: entry for key, entry in value.items() if key != SEAL}
        sound = key_digest(rest) == value[SEAL]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path.name} cannot be read ({error}): it proves nothing") from None
    if not sound:
        raise DataError(
            f"{path.name} was changed since it was written: its SHA-256 is another one than it "
            "says. It is no forecast; put back the file as it was, or remove it"
        )
    return value
