"""A trial of a study, as its row of summary.csv and its folder tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.core.arrangements import find_method
from orchestrator.core.order import rows_fed
from orchestrator.core.statistics.analysis import Floats, Steps, TaskCurves, set_curve, task_curves
from orchestrator.data.instance import UNLABELLED
from orchestrator.training.outcome import FINISHED, STOPPED


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Trial:
    """One row of summary.csv and what the trial's folder holds.

    Attributes:
        summary: the row, as text.
        config: the resolved configuration; empty if the trial left none.
        tables: by name, as in `read.TABLES`; what is absent was never written. Of a stopped trial
            as far as it was trained.
        faults: one sentence for each file that cannot be read, and one on why the trial failed.
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
    def twin_of(self) -> str | None:
        """The trial whose result this one took, because the two cannot differ; None: of none."""
        return self.summary.get("twin_of") or None

    @property
    def result_of(self) -> str:
        """The trial whose result it has: another one, or itself."""
        return self.twin_of or self.name

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
    def rows_fed(self) -> int | None:
        """How many rows of the plan training comes to, from its beginning; None without a plan."""
        plan, training = self.tables.get("plan"), self.config.get("training", {})
        if plan is None or training.get("max_steps") is None:
            return None if plan is None else len(plan)
        batch, epochs = training["global_batch"], training.get("epochs", 1)
        return min(len(plan), int(rows_fed(training["max_steps"], len(plan), batch, epochs)))

    @property
    def learned_queries(self) -> bool:
        """Whether its arrangement goes by vectors of a model that was trained on the queries.

        A method that cannot be asked, of a package that is not installed, counts as one that does.
        """
        if self.config.get("embedding", {}).get("pooling") != "path":
            return False
        try:
            embeds = find_method(str(self.arrangement.get("method"))).embeds
        except ValueError:
            embeds = True
        return embeds or not isinstance(self.arrangement.get("granularity", ""), str)

    @property
    def searched_queries(self) -> bool:
        """Whether its plan is what a search foresaw the lowest losses of the queries for."""
        return bool(self.arrangement.get("method") == "searched")

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

    def sampled_steps(self, test_set: str) -> set[int]:
        """The steps at which only a part of a set was measured, and the rest is estimated."""
        return set(self._estimated(test_set)["step"].to_pylist())

    def _estimated(self, test_set: str) -> pa.Table:
        """The lines of a set whose losses are estimated, as by `completed`."""
        table = self.tables.get("losses", pa.table({"step": [], "id": []}))
        if "estimated" not in table.column_names:
            return table.slice(0, 0)
        return table.filter(pc.and_(table["estimated"], pc.equal(table["set"], test_set)))

    def mean_losses(self, test_set: str) -> tuple[Steps, Floats]:
        """Mean loss of a set at each step that has one; all that is known of a stopped trial."""
        if test_set in self.means:
            return self.means[test_set]
        step, _, loss = self.losses(test_set)
        return set_curve(step, loss)

    def task_losses(self, test_set: str) -> TaskCurves | None:
        """Loss of each task that has one at every step; None when there is no such task.

        In a set without task labels only of instances that were measured at every step.
        """
        curves = task_curves(*self.losses(test_set))
        known = ~np.isnan(curves.losses.sum(axis=0))
        if self.unlabelled(test_set):
            known &= ~np.isin(curves.tasks, self._estimated(test_set)["id"].to_pylist())
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


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """The trials of which none repeats another one: of twins one."""
    found: dict[str, Trial] = {}
    for trial in trials:
        found.setdefault(trial.result_of, trial)
    return list(found.values())
