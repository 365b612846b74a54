"""What MLflow should hold of a study: `tracking.json` in its folder, beside the files it names.

Points are not in it: they are read from the journals. So the folder alone is the queue of what
is to be sent, and it survives whatever happens to the driver or to the server.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from orchestrator.config import Study
from orchestrator.errors import DataError, first_line
from orchestrator.storage.artifacts import write_json
from orchestrator.storage.files import (
    BENCHMARKS_RESULT_FILE,
    DATABASE_FILE,
    GENERATIONS_FILE,
    JOURNAL_FILE,
    PLAN_FILE,
    RESULT_FILE,
    RESULT_TABLES,
    STOPPED_FILE,
    TRACKING_FILE,
)
from orchestrator.tracking.parameters import parameters
from orchestrator.training.spec import TrialSpec, has_plan, planned_certificate
from orchestrator.trials import Trial

PARENT = "study"  # key of the parent run
TWIN_OF = "twin_of"  # tag: name of the trial whose result a twin takes (`training.twins`)
SUPERSEDED = "superseded"  # tag: "true" of a trial that the study no longer has


@dataclass(frozen=True)
class RunRecord:
    """What MLflow is to hold of one run: a trial's, or the study's, which is their parent.

    Attributes:
        name: shown in the UI.
        key: identity within the study: that of the trial's spec, or `PARENT`.
        folder: relative to the study's; holds the journal and the files.
        params, tags, metrics: as they are logged.
        files: names in `folder`, files or folders; sent at the end, as far as they exist.
        dataset: digest of the training data; None for the parent.
        status: MLflow's word for how it ended; None while it may still run.
        awaited: a file in `folder` without which a trial with a result has not ended; None: none.
    """

    name: str
    key: str
    folder: str
    params: dict[str, str]
    tags: dict[str, str]
    files: list[str]
    metrics: dict[str, float]
    dataset: str | None = None
    status: str | None = None
    awaited: str | None = None

    def ended(self, study_folder: Path) -> str | None:
        """MLflow's word for how the run ended; None while it may still run.

        A trial with a result finished, whether or not the study did. The marks are taken as they
        are: to compare tables with their digests costs too much for every few seconds.
        """
        folder = study_folder / self.folder
        last = [folder / name for name in (RESULT_FILE, self.awaited) if name]
        done = all(path.is_file() for path in last) or (folder / STOPPED_FILE).is_file()
        return self.status or ("FINISHED" if done else None)

    def present(self, study_folder: Path) -> dict[str, Path]:
        """Files to send, by path inside the run; tables count only beside their result."""
        folder = study_folder / self.folder
        finished = (folder / RESULT_FILE).is_file()
        tables = (*RESULT_TABLES, GENERATIONS_FILE, RESULT_FILE) if finished else ()
        named = [folder / name for name in (*self.files, *tables)]
        every = [*named, *(path for name in named for path in name.rglob("*"))]
        return {str(path.relative_to(folder)): path for path in every if path.is_file()}


@dataclass(frozen=True)
class Record:
    """What MLflow is to hold of one study, and where that MLflow is.

    Attributes:
        id: drawn once for a study's folder, so that two studies of one name never share runs.
        uri: of MLflow; None for SQLite beside the study.
        experiment: its name.
        started: of the study's first run, in milliseconds since the epoch.
        register_model: name in the model registry for the trials' models; None for none.
        runs: the parent, then the trials.
        complete: `runs` names all trials; a search names them one after the other.
    """

    id: str
    uri: str | None
    experiment: str
    started: int
    register_model: str | None
    runs: list[RunRecord]
    complete: bool = True

    def address(self, study_folder: Path) -> str:
        """Returns the address under which MLflow is reached."""
        return self.uri or f"sqlite:///{study_folder.parent / DATABASE_FILE}"

    def write(self, study_folder: Path) -> None:
        write_json(study_folder / TRACKING_FILE, asdict(self))


def read_record(study_folder: Path) -> Record:
    """The record of a study.

    Raises:
        DataError: the folder holds none, or one that is damaged.
    """
    path = study_folder / TRACKING_FILE
    if not path.is_file():
        raise DataError(
            f"{study_folder} holds no {TRACKING_FILE}: give the folder of a study that ran, "
            "<output>/<study>"
        )
    try:
        value = json.loads(path.read_bytes())
        return Record(**value | {"runs": [RunRecord(**run) for run in value["runs"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} is damaged ({first_line(error)}): put a copy of it back, or remove it and run "
            "the study's command again, which gives its trials new runs in MLflow"
        ) from error


def describe(
    study: Study, trials: list[Trial], specs: list[TrialSpec], tags: dict[str, str],
    files: list[str],
    study_folder: Path, *, trial_tags: Mapping[str, dict[str, str]],
) -> Record:  # fmt: skip
    """The record of a study that begins, or goes on: then under the identity it has.

    Args:
        tags: of the parent, its description among them.
        files: of every trial that is sent, finished or not, beside its tables.
        trial_tags: of each trial, by the key of its spec: its `certificate`, and of a twin
            `TWIN_OF`.
    """
    known = (study_folder / TRACKING_FILE).is_file()
    before = read_record(study_folder) if known else None
    tracking = study.tracking
    # No parameters, which MLflow never changes: the next run of a study may have others.
    parent = RunRecord(study.study, PARENT, ".", {}, tags, [], {})
    children = [
        RunRecord(
            name=trial.name,
            key=spec.key,
            folder=str(spec.folder.relative_to(study_folder)),
            params=parameters(trial.config),
            tags={"arm": trial.arm, SUPERSEDED: "false"} | trial_tags[spec.key],
            files=files,
            metrics={},
            dataset=spec.dataset.name,
            awaited=BENCHMARKS_RESULT_FILE if trial.config.evaluation.benchmarks else None,
        )
        for trial, spec in zip(trials, specs, strict=True)
    ]
    return Record(
        id=before.id if before else uuid.uuid4().hex,
        uri=tracking.uri,
        experiment=tracking.experiment or study.study,
        started=before.started if before else int(time.time() * 1000),
        register_model=tracking.register_model,
        runs=[parent, *children],
        complete=study.sweep.search is None,
    )


def certificate(spec: TrialSpec) -> dict[str, str]:
    """The certificate that the trial is to earn: of the rows that its plan has it trained on; empty
    of a trial without a plan, which earns none."""
    if not has_plan(spec):
        return {}
    ids = pq.read_table(spec.folder / PLAN_FILE, columns=["id"])["id"].to_pylist()
    return planned_certificate(spec.config, ids)


def finished(
    record: Record, files: list[str], errors: Mapping[str, str],
    endings: Mapping[str, dict[str, str]], metrics: Mapping[str, dict[str, float]],
    interrupted: Container[str] = (), *, description: str,
) -> Record:  # fmt: skip
    """The record of a study that came to its end.

    Args:
        files: of the parent.
        errors: of the trials that failed, by name.
        endings: tags of each trial, by name: `ended`, the word of the summary for how it ended,
            as MLflow has none for one that a scheduler stopped, and `precision`, its arithmetic.
        metrics: results of each trial, by name, and of the study, as `PARENT`.
        interrupted: those of `errors` that did not fail: Ctrl-C or a stopped job of Ray ended them.
        description: of the parent, now with the answer.
    """

    def status(name: str) -> str:
        return "FINISHED" if name not in errors else "KILLED" if name in interrupted else "FAILED"

    parent, *children = record.runs
    statuses = [status(name) for name in errors]
    arithmetic = sorted({tags["precision"] for tags in endings.values()} - {""})
    counts = {
        "precision": ", ".join(arithmetic),
        "trials": str(len(children)),
        "failed_trials": str(statuses.count("FAILED")),
        MLFLOW_RUN_NOTE: description,
    }
    ended = [
        replace(
            run,
            status=status(run.name),
            tags=run.tags | endings[run.name],
            metrics=metrics[run.name],
        )
        for run in children
    ]
    parent = replace(
        parent,
        status="KILLED" if "KILLED" in statuses else "FAILED" if errors else "FINISHED",
        tags=parent.tags | counts,
        files=files,
        metrics=metrics.get(PARENT, {}),
    )
    return replace(record, runs=[parent, *ended], complete=True)


def stopped(record: Record, study_folder: Path) -> Record:
    """The record of a study that was ended from outside; its next run opens the runs again."""

    def status(run: RunRecord) -> str | None:
        began = run.key == PARENT or (study_folder / run.folder / JOURNAL_FILE).is_file()
        return run.ended(study_folder) or ("KILLED" if began else None)

    return replace(record, runs=[replace(run, status=status(run)) for run in record.runs])
