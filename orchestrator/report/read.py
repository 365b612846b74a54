"""A study folder, finished or not, read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from orchestrator.config.claim import Claim
from orchestrator.config.faults import explain
from orchestrator.config.strict_yaml import parse
from orchestrator.core.order import rows_fed
from orchestrator.core.statistics.analysis import Floats, Steps
from orchestrator.data.dataset import TEST_SETS
from orchestrator.errors import DataError
from orchestrator.redaction import redacted
from orchestrator.report.evaluated import evaluated_folders
from orchestrator.report.trial import Trial
from orchestrator.storage.files import (
    CONFIG_FILE,
    RUN_FILE,
    STUDY_FILE,
    SUMMARY_FILE,
    TRIALS_FOLDER,
)
from orchestrator.training.evaluation.sampled import completed
from orchestrator.training.journal import read_journal
from orchestrator.training.outcome import FAILED, FINISHED, STOPPED, changed_tables, marked_outcome
from orchestrator.trials.config_file import config_fault

TABLES = ("losses", "train_log", "plan", "measures", "generations", "benchmarks")
# Written before training: of a stopped trial all others would be another attempt's.
EARLY_TABLES = ("plan", "measures")


@dataclass(frozen=True)
class StudyRecord:
    """All that the page is made of.

    Attributes:
        name: of the study.
        trials: in the order of summary.csv, failed ones too.
        run: run.json, what was run and on what; empty if there is none.
        claim: what study.yaml says the paper expects; None if nothing.
        evaluated: models that no trial trained, each as a trial that was measured once.
        left_out: folders of others, which were measured on other test items.
        mlflow: address of the server that the study names; None where it names none.
        studies: names of the studies that were put together; empty of one alone.
        notes: what is to be said of them, a sentence each.
        pages: where the report of each of them is, by its name.
    """

    name: str
    trials: list[Trial]
    run: dict[str, Any]
    claim: Claim | None
    evaluated: list[Trial] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    mlflow: str | None = None
    studies: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)


def read_study(study_dir: Path) -> StudyRecord:
    """Read a study folder.

    Raises:
        DataError: the folder holds no summary.csv, or a claim that is none.
    """
    path = study_dir / SUMMARY_FILE
    if not path.is_file():
        raise DataError(
            f"{study_dir} holds no summary.csv: give the folder of a study that ran, "
            "<output>/<study>"
        )
    with path.open(newline="", encoding="utf-8") as file:
        trials = [
            _read_trial(row, study_dir / TRIALS_FOLDER / row["trial"])
            for row in csv.DictReader(file)
        ]
    run = study_dir / RUN_FILE
    facts = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    study = _read_yaml(study_dir / STUDY_FILE)
    claim = _read_claim(study.get("claim"), study_dir / STUDY_FILE)
    folders, others = evaluated_folders(study_dir, trials)
    models = [
        _read_trial({"trial": name, "arm": name, "status": FINISHED}, folder)
        for name, folder in folders.items()
    ]
    uri = study.get("tracking", {}).get("uri")
    return StudyRecord(
        study.get("study", study_dir.name), trials, facts, claim, models, others,
        redacted(uri) if uri else None,
    )  # fmt: skip


def _read_claim(section: dict[str, Any] | None, path: Path) -> Claim | None:
    if section is None:
        return None
    try:
        return Claim.model_validate(section)
    except ValidationError as error:
        sentences = "; ".join(sentence for _, sentence in explain(error, Claim))
        raise DataError(f"{path}, section claim: {sentences}") from None


def _read_trial(summary: dict[str, str], folder: Path) -> Trial:
    """What the trial left; a file that breaks off is a fault to show, not a reason to stop, and so
    is why a trial failed."""
    tables, faults = {}, []
    for name in EARLY_TABLES if summary["status"] == STOPPED else TABLES:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            continue
        try:
            table = pq.read_table(path)
            tables[name] = completed(table) if name == "losses" else table
        except (pa.ArrowInvalid, OSError) as error:
            faults.append(f"{summary['trial']}: {path.name} cannot be read: {error}")
    faults += _changed(summary["trial"], folder, tables)
    faults += filter(None, [config_fault(folder)])
    if summary["status"] == FAILED and (why := marked_outcome(folder).error):
        faults.append(f"{summary['trial']} failed: {why}")
    trial = Trial(summary, _read_yaml(folder / CONFIG_FILE), tables, faults)
    return _stopped_trial(trial, folder) if trial.stopped else trial


def _changed(trial: str, folder: Path, read: Collection[str]) -> list[str]:
    """A sentence for each table that is not the one that the trial ended with."""
    try:
        changed, _ = changed_tables(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [
        f"{trial}: {name} was changed after its end and is read as it is now: run the same command "
        "again, which makes it anew"
        for name in changed
        if Path(name).stem in read
    ]


def _stopped_trial(trial: Trial, folder: Path) -> Trial:
    """A stopped trial: the plan and its measures as far as it came, and what its journal tells."""
    last = int(trial.summary["steps"])
    tables, faults, means = dict(trial.tables), list(trial.faults), {}
    if "measures" in tables:
        tables["measures"] = tables["measures"].filter(pc.field("step") <= last)
    if "plan" in tables and trial.config:
        training, plan = trial.config["training"], tables["plan"]
        rows = rows_fed(last, len(plan), training["global_batch"], training.get("epochs", 1))
        tables["plan"] = plan.filter(pc.field("position") < rows)
    try:
        means = journal_curves(folder, last)
    except (ValueError, KeyError) as error:
        faults.append(f"{trial.name}: its journal cannot be read: {error}")
    return Trial(trial.summary, trial.config, tables, faults, means)


def journal_curves(folder: Path, last: int) -> dict[str, tuple[Steps, Floats]]:
    """Steps and mean losses by test set that a trial's journal tells, up to the step `last`.

    Raises:
        ValueError, KeyError: the journal is damaged.
    """
    measurements = [event for event in read_journal(folder) if event["event"] == "measure"]
    curves = {}
    for name in TEST_SETS:
        losses = {
            event["step"]: event[f"{name}_loss"]
            for event in measurements
            if event["step"] <= last and f"{name}_loss" in event
        }
        if losses:
            curves[name] = np.array(list(losses)), np.array(list(losses.values()))
    return curves


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value, _, _ = parse(path.read_text(encoding="utf-8"))
    return value or {}
