"""Twins: trials that cannot differ from another one, which is trained for all of them.

They are fed the same rows in the same order, start from the same model under the same settings,
and have the same seed, or one that decides nothing (`drawn`). A twin keeps its own configuration,
plan and measures; all that training leaves is a copy of what the first one left, and its result
says of which. It is no repetition of that trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from orchestrator.storage.artifacts import copy_file, key_digest, write_json
from orchestrator.storage.files import (
    JOURNAL_FILE,
    MODEL_FOLDER,
    PLAN_FILE,
    STEP_MODELS_FOLDER,
    STOPPED_FILE,
)
from orchestrator.training.checkpoint import remove_checkpoints
from orchestrator.training.device import precision_here
from orchestrator.training.drawn import drawn_by_seed
from orchestrator.training.journal import precision_of
from orchestrator.training.outcome import FINISHED, Outcome, mark_finished, read_outcome
from orchestrator.training.spec import TrialSpec, planned_rows_fed, planned_steps
from orchestrator.trials.expand import WITHOUT_EFFECT

MODELS = (MODEL_FOLDER, STEP_MODELS_FOLDER)


def find_twins(specs: Sequence[TrialSpec], *, one_machine: bool) -> dict[str, TrialSpec]:
    """The trials that need no training, by name, each with the one whose result it takes.

    A trial that was trained before is no twin. It is the first one of its twins.

    Args:
        specs: of trials whose plans are written.
        one_machine: all of them are trained on this machine, whose arithmetic is known.
    """
    alike: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        alike.setdefault(_deciding(spec, one_machine), []).append(spec)
    return {
        twin: first
        for group in alike.values()
        if len(group) > 1
        for twin, first in _twins_in(group)
    }


def take_result(twin: TrialSpec, first: TrialSpec) -> Outcome:
    """Give a twin what its first one left; of one that ended as the other did nothing changes.

    Returns:
        How the first one ended. A twin of one that has not ended is left as it is.
    """
    outcome = read_outcome(first.folder, first.key)
    if not outcome.ended or read_outcome(twin.folder, twin.key).ended:
        return outcome
    if (first.folder / JOURNAL_FILE).is_file():  # old ones may have been cleared away
        copy_file(first.folder / JOURNAL_FILE, twin.folder / JOURNAL_FILE)
    remove_checkpoints(twin.folder)
    marked = {"key": twin.key, "twin_of": first.trial}
    if outcome.status != FINISHED:
        mark = json.loads((first.folder / STOPPED_FILE).read_bytes())
        write_json(twin.folder / STOPPED_FILE, mark | marked)
        return outcome
    result = {key: outcome.result[key] for key in outcome.result.keys() - {"files", "beside"}}
    for name in outcome.result["files"].keys() - {PLAN_FILE}:
        copy_file(first.folder / name, twin.folder / name)
    forget_models_of_another(twin.folder)
    for model in (first.folder / name for name in MODELS if (first.folder / name).is_dir()):
        shutil.rmtree(twin.folder / model.name, ignore_errors=True)  # of an attempt before
        (twin.folder / model.name).symlink_to(os.path.relpath(model, twin.folder))
    # The seconds are those of the first one alone: added up, they are what the study took.
    result |= {**marked, "trial": twin.trial, "seconds": 0.0}
    mark_finished(twin.folder, {}, result, outcome.result["files"])
    return outcome


def forget_models_of_another(folder: Path) -> None:
    """Remove what leads from a trial's folder to models of another one; these stay."""
    for path in (folder / name for name in MODELS):
        if path.is_symlink():
            path.unlink()


def _twins_in(group: list[TrialSpec]) -> Iterator[tuple[str, TrialSpec]]:
    """The twins among trials that are alike, and which of those it is that is trained."""
    outcomes = {spec.trial: read_outcome(spec.folder, spec.key) for spec in group}
    trained = [
        spec
        for spec in group
        if outcomes[spec.trial].ended and outcomes[spec.trial].twin_of is None
    ]
    first = (trained or group)[0]
    own = {first.trial, *(spec.trial for spec in trained)}
    return ((spec.trial, first) for spec in group if spec.trial not in own)


def _deciding(spec: TrialSpec, one_machine: bool) -> str:
    """A digest of all that decides what a trial leaves."""
    config = spec.config
    plan = pq.read_table(spec.folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
    fed = int(planned_rows_fed(config, planned_steps(config, len(plan)), len(plan)))
    precision = precision_of(spec.folder)
    if precision is None and (one_machine or config.model.precision != "auto"):
        precision = precision_here(config.model, config.training)
    sections = {"model", "training", "evaluation"}
    return key_digest(
        [
            config.model_dump(mode="json", include=sections, exclude=WITHOUT_EFFECT),
            [spec.model_digest, spec.tokens_digest, spec.measured_tokens[1]],
            [str(spec.dataset), str(spec.reward_model), str(spec.references)],
            config.seed if drawn_by_seed(config, spec.model, precision) else None,
            hashlib.sha256(np.ascontiguousarray(plan[:fed], np.int64).tobytes()).hexdigest(),
        ]
    )
