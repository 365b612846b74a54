"""A folder that holds an adapter alone, in peft's format, as trials save one."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.errors import ModelError
from orchestrator.models.names import unpinned, validate_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_base(folder: Path) -> str | None:
    """The model that an adapter belongs to, at its revision; None where a folder holds no adapter.

    Raises:
        ModelError: its weights are no safetensors, or it names no model that can be had.
    """
    if not (folder / CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} has no {WEIGHTS}. Weights in .bin are pickles, which can run code: they are "
            "not loaded"
        )
    try:
        told = json.loads((folder / CONFIG).read_bytes())
        base, revision = str(told["base_model_name_or_path"] or ""), told.get("revision")
        # Only the hub has revisions: peft's files may name one beside any model.
        if revision and not unpinned(base):
            base = f"{base}@{revision}"
        validate_name(base)
    except (ValueError, KeyError, TypeError, ModelError) as error:
        raise ModelError(
            f"{folder / CONFIG} names no model that can be had ({error}): write the name of the "
            "model that the adapter was trained beside into base_model_name_or_path"
        ) from None
    return base
