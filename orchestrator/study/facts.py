"""What a study ran on, and what its shared artifacts tell of themselves: `run.json`."""

from __future__ import annotations

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
        "command": shlex.join(["orchestrator", *_arguments(folder)]),
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


def provenance_tags() -> dict[str, str]:
    """What a study ran on, as tags of its run in MLflow."""
    tags = {"git_commit": provenance.git_commit() or "none"}
    tags |= {f"version.{name}": number for name, number in provenance.versions().items()}
    return tags | {
        f"hardware.{name}": _cell(value) for name, value in provenance.hardware().items()
    }


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
