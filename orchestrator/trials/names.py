"""What trials and arms are called.

An arm is what a study compares: trials that differ in seeds alone are one arm. Names are of
lower-case ASCII letters, digits, _ and -: safe on every file system, whatever the labels.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from orchestrator.trials.axes import Choice, kept_settings

MAX_STEM = 71  # characters; with the hash behind it a name has 80


def trial_stem(choice: Choice) -> str:
    """Labels, otherwise the last part of each key and its value; empty without settings."""
    return _stem(choice, bare=False)


def arm_names(choices: Sequence[Choice], methods: Sequence[str]) -> list[str]:
    """The name of the arm of each trial: as `trial_stem`, of all settings but seeds.

    Where a single key is compared, its value alone is the name. Without settings the name is the
    method's. Arms whose names would be equal carry a hash of their settings.

    Args:
        choices: combination of each trial.
        methods: of arrangement, of each trial.
    """
    compared = [_without_seeds(choice) for choice in choices]
    keys = {key for choice in compared for setting in choice for key in setting} - {"label"}
    stems: dict[str, str] = {}  # by what the arm's settings are
    settings = [json.dumps(kept_settings(choice), sort_keys=True) for choice in compared]
    for setting, choice, method in zip(settings, compared, methods, strict=True):
        stems.setdefault(setting, _stem(choice, bare=len(keys) == 1) or method)
    shared = {stem for stem, arms in Counter(stems.values()).items() if arms > 1}
    for setting, stem in stems.items():
        if stem in shared:
            stems[setting] = f"{stem}-{hashlib.sha256(setting.encode()).hexdigest()[:8]}"
    return [stems[setting] for setting in settings]


def _without_seeds(choice: Choice) -> Choice:
    """The combination without keys called seed, and without labels of nothing but a seed."""
    rest = ({key: setting[key] for key in setting if not _is_seed(key)} for setting in choice)
    return tuple(
        part
        for part, setting in zip(rest, choice, strict=True)
        if part.keys() - {"label"} or part.keys() == setting.keys()
    )


def _is_seed(key: str) -> bool:
    """The trial's own seed, and those of samples and clusters: repetitions, not arms."""
    return key.rsplit(".", maxsplit=1)[-1] == "seed"


def _stem(choice: Choice, *, bare: bool) -> str:
    parts: list[str] = []
    kept = kept_settings(choice)
    for setting in choice:
        values = {key: _text(setting[key]) for key in setting if key in kept}
        named = [text if bare else f"{key.split('.')[-1]}-{text}" for key, text in values.items()]
        # A label stands for its keys: where the method reads none of them, it would mislead.
        labelled = "label" in setting and (values or setting.keys() == {"label"})
        parts += [setting["label"]] if labelled else named
    slugs = [re.sub(r"[^a-z0-9_]+", "-", part.lower()).strip("-_") for part in parts]
    return "_".join(filter(None, slugs))[:MAX_STEM].strip("-_")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
