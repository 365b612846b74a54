"""Studies that never ran: their trials, specs and folders, with losses and distances made up."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config import dump_yaml
from orchestrator.core.measures import MEASURES
from orchestrator.forecast.forecaster import Request
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from tests.trials.studies import demo

STEPS, TASKS = np.array([0, 10, 20]), ["a", "b", "c"]
ROWS = 16 * 20
BASE = {"arrangement": {"selection": "nearest", "rows": ROWS}}


def study_of(name, orders, **sections):
    """A study with an arm for each order of training."""
    sweep = {"parameters": {"arrangement.order": {"grid": orders}}}
    return demo(sweep, **BASE | sections).model_copy(update={"study": name})


def request_of(study, output):
    """The study behind its plans, and before its first step."""
    trials = expand(study)
    specs = [
        TrialSpec(
            trial=trial.name, key=trial.key, config=trial.config, model=Path(), model_digest="",
            dataset=Path(), tokens=Path(), tokens_digest="", store=Path(),
            folder=output / study.study / "trials" / trial.name,
        )
        for trial in trials
    ]  # fmt: skip
    for spec in specs:
        spec.folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"row": np.arange(ROWS)}), spec.folder / "plan.parquet")
    certificates = {spec.key: {"order_sha256": spec.key} for spec in specs}
    return Request(study, trials, specs, None, output, certificates)


def write_distances(folder, distances):
    """Distances (S - 1, T) of each task at each step but 0."""
    rows = [
        {"step": int(step), "task": task, **dict.fromkeys(MEASURES, distances[at, column])}
        for at, step in enumerate(STEPS[1:])
        for column, task in enumerate(TASKS)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "measures.parquet")


def finish(study, output, losses, distances=None):
    """What the study leaves whose arms have these losses (A, S, T), in the order of its trials."""
    request = request_of(study, output)
    for spec, trial, curve in zip(request.specs, request.trials, losses, strict=True):
        (spec.folder / "config.yaml").write_text(dump_yaml(trial.config))
        rows = [
            {"step": int(step), "set": "query", "task": task, "id": task, "loss": curve[at, column]}
            for at, step in enumerate(STEPS)
            for column, task in enumerate(TASKS)
        ]
        pq.write_table(pa.Table.from_pylist(rows), spec.folder / "losses.parquet")
    for at, spec in enumerate(request.specs if distances is not None else []):
        write_distances(spec.folder, distances[at])
    with (output / study.study / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["trial", "arm", "status", "steps", "order_sha256"])
        writer.writeheader()
        for trial in request.trials:
            row = {"trial": trial.name, "arm": trial.arm, "status": "finished"}
            writer.writerow(row | {"steps": STEPS[-1], "order_sha256": trial.key})
    (output / study.study / "study.yaml").write_text(dump_yaml(study))
    return request
