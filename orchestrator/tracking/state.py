"""How far MLflow is behind one run's journal and files."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, Run

from orchestrator.tracking.points import points
from orchestrator.tracking.record import RunRecord
from orchestrator.training.journal import JournalTail


@dataclass
class SyncState:
    """What MLflow is known to have of one run, and what is still to be sent.

    Attributes:
        tail: of its journal.
        times: of the first and the last event of the journal, in milliseconds since the epoch.
        pending: points that MLflow is not known to have, in the journal's order.
        sent: (metric, step) that it has.
        files: that it is not known to have, by their path in the run.
        ended: how the run ended, as of the last look at its folder.
        run: as MLflow returned it; None until it was found, and after a failure.
        opened: its parameters and tags are sent.
        settled: the record that MLflow is equal to.
    """

    tail: JournalTail
    times: tuple[int, int] | None = None
    pending: dict[tuple[str, int], Metric] = field(default_factory=dict)
    sent: set[tuple[str, int]] = field(default_factory=set)
    files: dict[str, Path] = field(default_factory=dict)
    ended: str | None = None
    run: Run | None = None
    opened: bool = False
    settled: RunRecord | None = None

    @property
    def run_id(self) -> str:
        assert self.run is not None, "the run was not opened"
        run_id: str = self.run.info.run_id
        return run_id

    def confirm(self, points: Set[tuple[str, int]]) -> None:
        """Take note that MLflow has these points."""
        self.sent |= points
        for point in points:
            self.pending.pop(point, None)

    def look(self, run: RunRecord, study_folder: Path) -> None:
        """Read what the journal and the folder gained."""
        # The end first: a journal that is read after it is whole.
        self.ended = run.ended(study_folder)
        for event in self.tail.new_events():
            time = int(event["time"] * 1000)
            self.times = (self.times[0] if self.times else time, time)
            new = {(point.key, point.step): point for point in points(event)}
            self.pending |= {at: point for at, point in new.items() if at not in self.sent}
        if self.ended and self.settled is None:
            self.files = run.present(study_folder)
