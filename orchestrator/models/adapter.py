"""A folder that holds an adapter alone, in peft's format, as trials save one."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.errors import ModelError
from orchestrator.models.names import validate_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_base(folder: Path) -> str | None:
    """The name of the model that an adapter belongs to; None where a folder holds no adapter.

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
        base = json.loads((folder / CONFIG).read_bytes())["base_model_name_or_path"]
        validate_name(str(base or ""))
    except (ValueError, KeyError, TypeError, ModelError) as error:
        raise ModelError(
            f"{folder / CONFIG} names no model that can be had ({error}): write the name of the "
            "model that the adapter was trained beside into base_model_name_or_path"
        ) from None
    return str(base)
