"""A study folder, finished or not, read back."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
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
from orchestrator.core.statistics.analysis import Floats, Steps, TaskCurves, set_curve, task_curves
from orchestrator.data.dataset import TEST_SETS
from orchestrator.data.instance import UNLABELLED
from orchestrator.errors import DataError
from orchestrator.training.record import read_journal

FINISHED, STOPPED = "finished", "stopped"
TABLES = ("losses", "train_log", "plan", "measures", "generations")
# Written before training: of a stopped trial all others would be another attempt's.
EARLY_TABLES = ("plan", "measures")


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Trial:
    """One row of summary.csv and what the trial's folder holds.

    Attributes:
        summary: the row, as text.
        config: the resolved configuration; empty if the trial left none.
        tables: by name out of `TABLES`; what is absent was never written. Of a stopped trial as
            far as it was trained.
        faults: one sentence for each file that cannot be read.
        means: of a stopped trial, which has no table of losses: its steps and mean losses by test
            set.
    """

    summary: dict[str, str]
    config: dict[str, Any]
    tables: dict[str, pa.Table]
    faults: list[str]
    means: Mapping[str, tuple[Steps, Floats]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the trial, which is that of its folder."""
        return self.summary["trial"]

    @property
    def arm(self) -> str:
        """What is compared: shared by the trials that differ in their seed alone.

        A summary without arms is older than they are: each of its trials is an arm.
        """
        return self.summary.get("arm") or self.name

    @property
    def seed(self) -> tuple[str, ...]:
        """The study's seed and all others that were swept, such as `data.pool.seed`."""
        swept = [value for key, value in self.summary.items() if key.endswith(".seed")]
        return (str(self.config.get("seed", 0)), *swept)

    @property
    def arrangement(self) -> dict[str, Any]:
        """The section `arrangement` of the configuration; empty if the trial left none."""
        section: dict[str, Any] = self.config.get("arrangement", {})
        return section

    @property
    def finished(self) -> bool:
        """Whether it was trained to the end."""
        return self.summary["status"] == FINISHED

    @property
    def stopped(self) -> bool:
        """Whether a scheduler ended it early; its `steps` are then the last that it measured."""
        return self.summary["status"] == STOPPED

    @property
    def state(self) -> str:
        """How it ended, in words."""
        status = self.summary["status"]
        return f"{status} after step {int(self.summary['steps']):,}" if self.stopped else status

    @property
    def label(self) -> str:
        """The name, with the state where it is not the expected one."""
        return self.name if self.finished else f"{self.name} ({self.state})"

    @property
    def note(self) -> str:
        """What the method noted in its plan, such as the solver it took; empty if nothing."""
        plan = self.tables.get("plan")
        metadata = plan.schema.metadata if plan is not None else None
        return (metadata or {}).get(b"note", b"").decode()

    def unlabelled(self, test_set: str) -> bool:
        """Whether a set was measured and none of its instances has a task."""
        if "losses" not in self.tables:
            return False
        table = self.tables["losses"]
        tasks = table["task"].filter(pc.equal(table["set"], test_set)).unique().to_pylist()
        return tasks == [UNLABELLED]

    def losses(self, test_set: str) -> tuple[Steps, list[str], Floats]:
        """Step, task and loss of each measurement on a set; NaN where the answer was cut away.

        In a set without task labels each instance is a task, or all of it would be a single one.
        """
        if "losses" not in self.tables:
            return np.array([], dtype=np.int64), [], np.array([])
        table = self.tables["losses"]
        table = table.filter(pc.equal(table["set"], test_set))
        return (
            table["step"].to_numpy().astype(np.int64),
            table["id" if self.unlabelled(test_set) else "task"].to_pylist(),
            table["loss"].to_numpy().astype(np.float64),
        )

    def mean_losses(self, test_set: str) -> tuple[Steps, Floats]:
        """Mean loss of a set at each step that has one; all that is known of a stopped trial."""
        if test_set in self.means:
            return self.means[test_set]
        step, _, loss = self.losses(test_set)
        return set_curve(step, loss)

    def task_losses(self, test_set: str) -> TaskCurves | None:
        """Loss of each task that has one at every step; None when there is no such task."""
        curves = task_curves(*self.losses(test_set))
        known = ~np.isnan(curves.losses.sum(axis=0))
        if not known.any():
            return None
        tasks = [task for task, keep in zip(curves.tasks, known, strict=True) if keep]
        return TaskCurves(curves.steps, tasks, curves.losses[:, known])

    def task_measure(self, measure: str) -> TaskCurves | None:
        """A measure of each query task at each step but 0; None when there is none."""
        if "measures" not in self.tables:
            return None
        table = self.tables["measures"]
        table = table.filter(pc.and_(pc.is_valid(table["task"]), pc.is_valid(table[measure])))
        if not len(table):
            return None
        step = table["step"].to_numpy().astype(np.int64)
        return task_curves(step, table["task"].to_pylist(), table[measure].to_numpy())


@dataclass(frozen=True)
class StudyRecord:
    """All that the page is made of.

    Attributes:
        name: of the study.
        trials: in the order of summary.csv, failed ones too.
        run: run.json, what was run and on what; empty if there is none.
        claim: what study.yaml says the paper expects; None if nothing.
    """

    name: str
    trials: list[Trial]
    run: dict[str, Any]
    claim: Claim | None


def read_study(study_dir: Path) -> StudyRecord:
    """Read a study folder.

    Raises:
        DataError: the folder holds no summary.csv, or a claim that is none.
    """
    path = study_dir / "summary.csv"
    if not path.is_file():
        raise DataError(
            f"{study_dir} holds no summary.csv: give the folder of a study that ran, "
            "<output>/<study>"
        )
    with path.open(newline="", encoding="utf-8") as file:
        trials = [
            _read_trial(row, study_dir / "trials" / row["trial"]) for row in csv.DictReader(file)
        ]
    run = study_dir / "run.json"
    facts = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    study = _read_yaml(study_dir / "study.yaml")
    claim = _read_claim(study.get("claim"), study_dir / "study.yaml")
    return StudyRecord(study.get("study", study_dir.name), trials, facts, claim)


def _read_claim(section: dict[str, Any] | None, path: Path) -> Claim | None:
    if section is None:
        return None
    try:
        return Claim.model_validate(section)
    except ValidationError as error:
        sentences = "; ".join(sentence for _, sentence in explain(error, Claim))
        raise DataError(f"{path}, section claim: {sentences}") from None


def _read_trial(summary: dict[str, str], folder: Path) -> Trial:
    """What the trial left; a file that breaks off is a fault to show, not a reason to stop."""
    tables, faults = {}, []
    for name in EARLY_TABLES if summary["status"] == STOPPED else TABLES:
        path = folder / f"{name}.parquet"
        if not path.is_file():
            continue
        try:
            tables[name] = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            faults.append(f"{summary['trial']}: {path.name} cannot be read: {error}")
    trial = Trial(summary, _read_yaml(folder / "config.yaml"), tables, faults)
    return _stopped_trial(trial, folder) if trial.stopped else trial


def _stopped_trial(trial: Trial, folder: Path) -> Trial:
    """A stopped trial: the plan and its measures as far as it came, and what its journal tells."""
    last = int(trial.summary["steps"])
    tables, faults, means = dict(trial.tables), list(trial.faults), {}
    if "measures" in tables:
        tables["measures"] = tables["measures"].filter(pc.field("step") <= last)
    if "plan" in tables and trial.config:
        rows = last * trial.config["training"]["global_batch"]
        tables["plan"] = tables["plan"].filter(pc.field("position") < rows)
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
