"""What a study ran on, and what its shared artifacts tell of themselves: `run.json`."""

from __future__ import annotations

import getpass
import shlex
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator import provenance
from orchestrator.config import TrialConfig
from orchestrator.screen import shown_path
from orchestrator.storage.artifacts import Artifact, read_manifest
from orchestrator.storage.files import STUDY_FILE
from orchestrator.study.first_rows import first_rows
from orchestrator.study.pipeline import Pipeline
from orchestrator.trials import Trial


class Began(NamedTuple):
    """When something began; how long ago, no change of the clock alters.

    Attributes:
        at: in UTC.
        monotonic: in seconds of `time.monotonic`.
    """

    at: datetime
    monotonic: float

    @classmethod
    def now(cls) -> Began:
        return cls(datetime.now(UTC), time.monotonic())


def study_facts(
    pipeline: Pipeline, trials: list[Trial], precisions: Iterable[str], began: Began, folder: Path
) -> dict[str, Any]:
    """The content of `run.json`.

    Args:
        pipeline: what made the study's artifacts.
        precisions: the arithmetic of each trial; empty where it is not known.
        began: when the study did.
        folder: of the study.
    """
    return {
        "started": began.at.isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began.monotonic,
        "command": command(folder),
        "precision": sorted({*precisions} - {""}),
        "hardware": provenance.hardware(),
        "versions": provenance.versions(),
        "git_commit": provenance.git_commit(),
        "data": _entries(trials, pipeline.dataset),
        "first_rows": first_rows(trials, pipeline.dataset, folder),
        "near_duplicates": _entries(trials, pipeline.near_duplicates),
        "embeddings": _entries(trials, pipeline.embeddings),
        "tokens": _entries(trials, pipeline.tokens),
        "test_tokens": _entries(trials, pipeline.test_tokens),
        "models": {
            name: {"fingerprint": digest, **_revision(pipeline.shared.model_folder(name))}
            for name, digest in pipeline.shared.models.items()
        },
        "stages": pipeline.shared.stages,
    }


def command(folder: Path) -> str:
    """What was typed to run the study of a folder, as a shell reads it."""
    return shlex.join(["orchestrator", *_arguments(folder)])


def provenance_tags(folder: Path) -> dict[str, str]:
    """Who ran the study of a folder from what and on what, as tags of its run in MLflow."""
    files = [word for word in _arguments(folder) if word.endswith((".yaml", ".yml"))]
    # Under the names by which MLflow's columns and pages know them.
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": (files or [STUDY_FILE])[0]}
    if commit := provenance.git_commit():
        tags["mlflow.source.git.commit"] = commit
    if user := _user():
        tags["mlflow.user"] = user
    tags |= {f"version.{name}": number for name, number in provenance.versions().items()}
    return tags | {
        f"hardware.{name}": _cell(value) for name, value in provenance.hardware().items()
    }


def _user() -> str | None:
    """Who runs this; None in a container that gave its user no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _revision(folder: Path) -> dict[str, str]:
    """The commit that a model of the hub is of, or what else made its folder of the store."""
    revision = (read_manifest(folder) or {}).get("revision")
    return {"revision": revision} if revision else {}


def _arguments(folder: Path) -> list[str]:
    """What was typed behind `orchestrator`; where Python ran the study, what runs it again."""
    if "orchestrator.cli" in sys.modules:
        return sys.argv[1:]
    return ["run", shown_path(folder / STUDY_FILE)]


def _entries(
    trials: list[Trial], artifact_of: Callable[[TrialConfig], Artifact | None]
) -> list[dict[str, Any]]:
    """What artifacts remember, each once, with the trials that use it."""
    entries: dict[str, dict[str, Any]] = {}
    for trial in trials:
        artifact = artifact_of(trial.config)
        if artifact is not None:
            entry = entries.setdefault(artifact.digest, {"trials": [], **artifact.info})
            entry["trials"].append(trial.name)
    return list(entries.values())


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
