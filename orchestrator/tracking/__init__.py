"""MLflow: one parent run a study, one child a trial.

MLflow holds a copy of what the study's folder holds: `record` says what the copy should be,
`mirror` makes it so, `tracker` does that on a thread while the study runs, and `landing` is what
MLflow's page of a study shows.
"""

from orchestrator.tracking.landing import landing_pages, view_name
from orchestrator.tracking.parameters import flat_params
from orchestrator.tracking.parameters import parameters as shown_params
from orchestrator.tracking.record import (
    MLFLOW_RUN_NOTE,
    PARENT,
    TWIN_OF,
    Record,
    certificate,
    describe,
    finished,
    read_record,
)
from orchestrator.tracking.system import SystemSampler
from orchestrator.tracking.tracker import Backlog, Tracker, sync

__all__ = [
    "MLFLOW_RUN_NOTE", "PARENT", "TWIN_OF", "Backlog", "Record", "SystemSampler", "Tracker",
    "certificate", "describe", "finished", "flat_params", "landing_pages", "read_record",
    "shown_params", "sync", "view_name",
]  # fmt: skip
