"""What MLflow's pages open on: a study's trials by arm, the best first, under its description.

MLflow keeps the columns and charts of a page as a tag of the experiment, written by its button
"Views", and the page's address names the tag. Without one a page shows what its browser last did.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from orchestrator.data.dataset import TEST_SETS
from orchestrator.storage.artifacts import key_digest
from orchestrator.tracking.experiment import sqlite_address
from orchestrator.tracking.record import SUPERSEDED, Record

VIEW = "mlflow.sharedViewState."  # begins MLflow's tag; the rest names the view in addresses
OURS = "study-"  # begins the name of a study's view
NOTE_TAG = "orchestrator.note"  # digests of the descriptions of an experiment that are ours
NOTE_LENGTH = 5000  # characters that every server takes
AREA = "query_loss_auc"
LOSSES = [f"{name}_loss" for name in TEST_SETS]
MOST_SETTINGS = 8  # columns of what the trials differ in
NAME_WIDTH, OTHER_WIDTH = 240, 90  # pixels


def view_name(record: Record) -> str:
    """The name under which MLflow's addresses ask for a study's view."""
    return OURS + record.id[:8]


def open_on(client: MlflowClient, experiment: str, record: Record, parent: str) -> None:
    """Write what the experiment's page shows of a study, unless it stands there.

    The experiment is described as the study is where it is named after it, until somebody
    describes it otherwise.

    Args:
        experiment: its id.
        parent: id of the study's run, which the description points to.
    """
    there = client.get_experiment(experiment).tags
    wanted = {VIEW + view_name(record): view(record)}
    study, link = record.runs[0], f"#/experiments/{experiment}/runs/{parent}"
    note, text = there.get(MLFLOW_RUN_NOTE), study.tags.get(MLFLOW_RUN_NOTE)
    ours = not note or key_digest(note) in there.get(NOTE_TAG, "").split()
    if text and record.experiment == study.name and ours:
        pointer = f"\n\n[The study’s run: its report and all its files]({link})"
        written = text[: NOTE_LENGTH - len(pointer)] + pointer
        if note != written:  # first: killed before the note, both are known as ours
            wanted[NOTE_TAG] = " ".join(key_digest(each) for each in (note, written) if each)
        wanted[MLFLOW_RUN_NOTE] = written
    for name, text in wanted.items():
        if there.get(name) != text:
            client.set_experiment_tag(experiment, name, text)


def view(record: Record) -> str:
    """A study's view as MLflow keeps it: its present trials with columns, order and charts."""
    trials, name = record.runs[1:], "attributes.`Run Name`"
    columns = [f"metrics.`{metric}`" for metric in (AREA, *LOSSES)]
    columns += [f"params.`{key}`" for key in varied(record)]
    state: dict[str, Any] = {
        "searchFilter": (
            f"tags.`orchestrator.study` = '{record.id}' and tags.{SUPERSEDED} = 'false'"
        ),
        "orderByKey": f"metrics.`{AREA}`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": [name, *columns],
        "columnWidths": {name: NAME_WIDTH} | dict.fromkeys(columns, OTHER_WIDTH),
        "runsHiddenMode": "SHOWALL",
        "compareRunCharts": [
            *(_chart("LINE", metric) for metric in (*LOSSES, "train_loss")),
            _chart("BAR", AREA),
        ],
        "compareRunSections": [
            {"uuid": "losses", "name": "Losses", "display": True, "isReordered": True, "columns": 2}
        ],
        "isAccordionReordered": True,
    }
    if max(Counter(run.tags["arm"] for run in trials).values(), default=1) > 1:
        arm = {"mode": "tag", "groupByData": "arm"}
        state["groupBy"] = {"aggregateFunction": "average", "groupByKeys": [arm]}
    envelope = {"name": record.runs[0].name, "createdAt": record.started}
    return json.dumps(envelope | {"state": json.dumps(state)})


def _chart(kind: str, metric: str) -> dict[str, Any]:
    chart: dict[str, Any] = {
        "type": kind, "metricKey": metric, "uuid": metric, "metricSectionId": "losses",
        "deleted": False, "isGenerated": False, "runsCountToCompare": 100,
    }  # fmt: skip
    if kind == "LINE":
        chart |= {
            "selectedMetricKeys": [metric], "lineSmoothness": 0, "scaleType": "linear",
            "xAxisKey": "step", "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True,
        }  # fmt: skip
    return chart


def varied(record: Record) -> list[str]:
    """The parameters in which the trials differ, in the order of the configuration."""
    params = [run.params for run in record.runs[1:]]
    keys = dict.fromkeys(key for each in params for key in each)
    differ = [key for key in keys if len({each.get(key) for each in params}) > 1]
    return differ[:MOST_SETTINGS]


def landing_pages(database: Path) -> dict[str, tuple[str, str]]:
    """The studies of a database, the newest first.

    Returns:
        By the name of the study's view: the study, and its page behind the server's address.
    """
    found = []
    for experiment in MlflowClient(sqlite_address(database)).search_experiments():
        for tag, text in experiment.tags.items():
            if tag.startswith(VIEW + OURS):
                kept, name = json.loads(text), tag.removeprefix(VIEW)
                page = f"#/experiments/{experiment.experiment_id}/runs?viewStateShareKey={name}"
                page += "&workflowType=machine_learning"
                found.append((kept["createdAt"], name, kept["name"], page))
    return {name: (study, page) for _, name, study, page in sorted(found, reverse=True)}
