"""MLflow: one parent run a study, one child a trial.

MLflow holds a copy of what the study's folder holds: `record` says what the copy should be,
`mirror` makes it so, `tracker` does that on a thread while the study runs.
"""

from orchestrator.tracking.parameters import flat_params
from orchestrator.tracking.record import (
    PARENT,
    Record,
    certificate,
    describe,
    finished,
    read_record,
)
from orchestrator.tracking.system import SystemSampler
from orchestrator.tracking.tracker import Backlog, Tracker, sync

__all__ = [
    "PARENT", "Backlog", "Record", "SystemSampler", "Tracker", "certificate", "describe",
    "finished", "flat_params", "read_record", "sync",
]  # fmt: skip
