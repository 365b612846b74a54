"""A configuration as MLflow parameters: flat, short, and without what is private."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from orchestrator.config import TrialConfig
from orchestrator.trials.expand import WITHOUT_EFFECT

MAX_CHARS = 500  # of a value
# MLflow never changes a parameter, so what may change under a trial's key is none. The section of
# DeepSpeed may hold whatever that reads, the keys of its monitors' accounts among it.
LEFT_OUT = WITHOUT_EFFECT | {"training": WITHOUT_EFFECT["training"] | {"deepspeed"}}


def parameters(config: TrialConfig, *, changed: bool = False) -> dict[str, str]:
    """What determines a trial's result, as dotted key -> text of at most 500 characters.

    Of a path outside the working folder only the name is told, of an address neither user nor
    query: the first may name a home, the second hold a token.

    Args:
        changed: leave out what has its default.
    """
    # The sections of a trial alone: a study also knows its output and its tracking server.
    sections = config.model_dump(
        mode="json",
        include=set(TrialConfig.model_fields),
        exclude=LEFT_OUT,
        exclude_defaults=changed,
    )
    return {key: _shown(value) for key, value in flat_params(sections).items()}


def flat_params(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration as dotted key -> value."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flat_params(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _shown(value: Any) -> str:
    text = str(value)
    if isinstance(value, str) and "://" in text:
        address = urlsplit(text)
        text = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    elif isinstance(value, str) and text.startswith(("/", "~")):
        text = PurePath(text).name
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"
