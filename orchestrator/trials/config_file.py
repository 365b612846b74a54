"""The configuration that a trial left, and whether it is whole: the trial's name tells."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from orchestrator.config.schema import TrialConfig
from orchestrator.config.strict_yaml import parse
from orchestrator.storage.files import CONFIG_FILE
from orchestrator.trials.expand import trial_key

NAMED_BY_KEY = re.compile(r".*-(?P<key>[0-9a-f]{8})")
AGAIN = "move the trial's folder away and run the study again, which trains it anew"


def config_fault(folder: Path) -> str:
    """What is wrong with config.yaml in a trial's folder, in a sentence; "" of a whole one.

    A file that was cut may still be valid: what it lacks is at its default. The end of a trial's
    name is the beginning of its configuration's digest.
    """
    named, path = NAMED_BY_KEY.fullmatch(folder.name), folder / CONFIG_FILE
    if named is None or not path.is_file():
        return ""
    try:
        value, _, faults = parse(path.read_text(encoding="utf-8"))
        key = "" if faults else trial_key(TrialConfig.model_validate(value))
    except (ValidationError, ValueError):
        key = ""
    if key.startswith(named["key"]):
        return ""
    return f"{folder.name}: {CONFIG_FILE} is cut or was changed: {AGAIN}"
