"""Makes MLflow equal to a study's record; the only place that speaks with it.

Stateless on purpose: what MLflow lacks is found by comparing, so whatever was sent, half-sent or
sent by a process that was killed, the next pass sends the rest. A queue of requests would repeat
what the journals hold already, and would still have to ask MLflow whether a request that timed
out had arrived.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import tempfile
import threading
from pathlib import Path

import pyarrow.parquet as pq
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from requests import RequestException

from orchestrator.errors import first_line
from orchestrator.storage.artifacts import file_digest, key_digest
from orchestrator.storage.files import ERROR_FILE, LOSSES_FILE, MODEL_FOLDER, RESULT_FILE
from orchestrator.tracking.experiment import connect, run_files
from orchestrator.tracking.landing import open_on
from orchestrator.tracking.record import PARENT, SUPERSEDED, Record, RunRecord
from orchestrator.tracking.registry import register
from orchestrator.tracking.state import SyncState
from orchestrator.tracking.task_losses import draw_task_losses
from orchestrator.training.journal import JournalTail

STUDY_TAG = "orchestrator.study"  # id of the study's record
RUN_TAG = "orchestrator.run"  # key of the run within it
FILES_TAG = "orchestrator.files"  # digest of all files, set when the last one is there
SETTING = "config."  # begins tags that say what parameters and the description say better
BATCH = 500  # metrics in one request; the server takes 1,000
TEXTS = 100  # parameters, and tags, in one request: as many as it takes


class Mirror:
    """One study's runs in MLflow. Not for use by two threads at once."""

    def __init__(self, study_folder: Path) -> None:
        self._folder = study_folder
        self._states: dict[str, SyncState] = {}
        self._client: MlflowClient | None = None
        self._runs: dict[str, Run] = {}  # by key, also of trials that a search has yet to choose
        self._experiment = ""
        self._shown: Record | None = None  # what the experiment's page opens on
        self._lock = threading.Lock()  # over what `look` changes

    def send(self, record: Record) -> None:
        """Send all that MLflow lacks; raises whatever MLflow raises, and may be repeated."""
        due = self.look(record)
        try:
            client = self._connect(record)
            parent, *children = record.runs
            for run in [parent, *(run for run in children if run in due)]:
                self._open(client, record, run)
                self._send_points(client, self._states[run.key])
            if record.complete:
                self._supersede(client, record)
            # Files after all points: they are slow. The parent last: it says that all is there.
            for run in [*children, parent]:
                if run in due and self._states[run.key].ended:
                    self._close(client, record, run)
            if self._shown != record:
                self._open_page(client, record)
                self._shown = record
        except BaseException:
            # Whether the last request arrived is unknown: MLflow is asked anew.
            self._client = None
            for state in self._states.values():
                state.opened = False
            raise

    def _open_page(self, client: MlflowClient, record: Record) -> None:
        """Show the study on its experiment's page: what a server refuses of that is left out, for
        the record is there without it."""
        try:
            open_on(client, self._experiment, record, self._states[PARENT].run_id)
        except MlflowException as error:
            if isinstance(error.__context__, RequestException):
                raise  # no answer is no refusal
            logging.warning("the page of %s stays as it is: %s", record.experiment, error)

    def look(self, record: Record) -> list[RunRecord]:
        """The runs that have begun or ended and lack something; asks nothing of MLflow."""
        due = []
        with self._lock:
            for run in record.runs:
                state = self._states.get(run.key)
                if state is None:
                    state = SyncState(JournalTail(self._folder / run.folder))
                    self._states[run.key] = state
                if state.settled != run:
                    state.look(run, self._folder)
                    if run.key == PARENT or state.times or state.ended:
                        due.append(run)
        return due

    def unsent(self, record: Record) -> tuple[int, int, int]:
        """(points, files, runs) that MLflow is not known to have in full; any thread may ask."""
        states = [self._states[run.key] for run in self.look(record)]
        points, files = (sum(len(x.pending) for x in states), sum(len(x.files) for x in states))
        return points, files, len(states)

    def _connect(self, record: Record) -> MlflowClient:
        if self._client is not None:
            return self._client
        client, self._experiment = connect(record, self._folder)
        self._find_runs(client, record)
        self._client = client
        return client

    def _find_runs(self, client: MlflowClient, record: Record) -> None:
        """The study's runs; of two that a lost answer made for one trial the first stays."""
        query = f"tags.`{STUDY_TAG}` = '{record.id}'"
        page = client.search_runs([self._experiment], query)
        runs: list[Run] = list(page)
        while page.token:
            page = client.search_runs([self._experiment], query, page_token=page.token)
            runs += page
        self._runs = {}
        for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)):
            if self._runs.setdefault(run.data.tags[RUN_TAG], run) is not run:
                client.delete_run(run.info.run_id)

    def _open(self, client: MlflowClient, record: Record, run: RunRecord) -> None:
        """Find or make a run, with all that is known at its start."""
        state = self._states[run.key]
        if state.opened:
            return
        state.run = self._runs.get(run.key)
        if state.run is None:
            tags = {STUDY_TAG: record.id, RUN_TAG: run.key, MLFLOW_RUN_NAME: run.name}
            if run.key != PARENT:
                tags[MLFLOW_PARENT_RUN_ID] = self._states[PARENT].run_id
            if state.sent:  # somebody deleted the run that had them
                with self._lock:
                    state.sent, state.tail = set(), JournalTail(self._folder / run.folder)
                    state.look(run, self._folder)
            began = state.times[0] if state.times else record.started
            # With its tags in one request: there is no moment at which it could not be found.
            state.run = self._runs[run.key] = client.create_run(self._experiment, began, tags)
        else:
            self._recall(client, state, state.run)
        for name in state.run.data.tags.keys() - run.tags.keys():
            if name.startswith(SETTING):
                client.delete_tag(state.run_id, name)
        known = state.run.data.params  # only what a killed sender did not send
        new = [Param(key, value) for key, value in run.params.items() if key not in known]
        _send_texts(client, state.run_id, _tags(run), new)
        if run.dataset:
            source = json.dumps({"uri": f"dataset/{run.dataset}"})
            entity = Dataset("instances", run.dataset[:36], "local", source)
            context = [InputTag("mlflow.data.context", "training")]
            client.log_inputs(state.run_id, [DatasetInput(entity, context)])
        state.opened = True

    def _recall(self, client: MlflowClient, state: SyncState, run: Run) -> None:
        """Ask MLflow what it has of a run that an earlier attempt wrote."""
        # Status and end are sent last: where they are right, all points are there.
        there = set(state.pending)
        last = state.times[1] if state.times else 0
        if run.info.status != state.ended or run.info.end_time < last:
            there = {
                (key, point.step)
                for key in run.data.metrics
                for point in client.get_metric_history(state.run_id, key)
            }
        if state.ended is None and run.info.status != "RUNNING":
            client.update_run(state.run_id, status="RUNNING")
        with self._lock:
            state.confirm(there)

    def _supersede(self, client: MlflowClient, record: Record) -> None:
        """Mark the runs of trials that the study no longer has: the UI can filter them."""
        for key in self._runs.keys() - {run.key for run in record.runs}:
            run = self._runs[key]
            if run.data.tags.get(SUPERSEDED) == "true":
                continue
            if run.info.status == "RUNNING":  # its driver was killed
                client.set_terminated(run.info.run_id, "KILLED")
            client.set_tag(run.info.run_id, SUPERSEDED, "true")
            self._runs[key] = client.get_run(run.info.run_id)

    def _send_points(self, client: MlflowClient, state: SyncState) -> None:
        while state.pending:
            batch = dict(itertools.islice(state.pending.items(), BATCH))
            client.log_batch(state.run_id, metrics=list(batch.values()))
            with self._lock:
                state.confirm(batch.keys())

    def _close(self, client: MlflowClient, record: Record, run: RunRecord) -> None:
        """Send the files, results and status of a run that ended."""
        state, folder = self._states[run.key], self._folder / run.folder
        tags = _tags(run)
        if state.files:
            tags.append(RunTag(FILES_TAG, self._send_files(record, state)))
        model, finished = folder / MODEL_FOLDER, (folder / RESULT_FILE).is_file()
        if record.register_model and model.is_dir() and finished:
            assert state.run is not None, "the run was not opened"
            files = run_files(state.run, record, self._folder)
            register(client, files, record.register_model, run, state.run, model)
        # Step and time 0: the same value again is the same point.
        metrics = [Metric(key, value, 0, 0) for key, value in run.metrics.items()]
        client.log_batch(state.run_id, metrics=metrics)
        _send_texts(client, state.run_id, tags, [])
        counted = self._states.values() if run.key == PARENT else [state]
        last = max((each.times[1] for each in counted if each.times), default=record.started)
        client.set_terminated(state.run_id, state.ended, last)
        state.files, state.settled = {}, run

    def _send_files(self, record: Record, state: SyncState) -> str:
        """Send a run's files unless MLflow has them; returns their digest."""
        digest = key_digest([[name, file_digest(path)] for name, path in state.files.items()])
        if state.run and state.run.data.tags.get(FILES_TAG) != digest:
            files = run_files(state.run, record, self._folder)
            for name, path in state.files.items():
                files.log_artifact(str(path), os.path.dirname(name) or None)
            if LOSSES_FILE in state.files:
                figure = draw_task_losses(pq.read_table(state.files[LOSSES_FILE]))
                with tempfile.TemporaryDirectory() as folder:
                    figure.savefig(drawn := os.path.join(folder, "task_losses.png"))
                    files.log_artifact(drawn)
            if ERROR_FILE not in state.files:
                _remove_error(files)
        return digest


def _remove_error(files: ArtifactRepository) -> None:
    """Remove the error of an attempt that is forgotten; a storage that refuses keeps it."""
    try:
        if any(held.path == ERROR_FILE for held in files.list_artifacts()):
            files.delete_artifacts(ERROR_FILE)
    except Exception as error:  # each kind of storage has its own; without an answer the next fails
        logging.warning("%s stays in MLflow: %s", ERROR_FILE, first_line(error))


def _send_texts(client: MlflowClient, run_id: str, tags: list[RunTag], params: list[Param]) -> None:
    for start in range(0, max(len(tags), len(params)), TEXTS):
        part = slice(start, start + TEXTS)
        client.log_batch(run_id, tags=tags[part], params=params[part])


def _tags(run: RunRecord) -> list[RunTag]:
    return [RunTag(key, value) for key, value in run.tags.items()]
