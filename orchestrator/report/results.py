"""The results of a study as tables, for a notebook: what its trials left, side by side.

Not for the page, which `build` makes from the same record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from orchestrator.core.statistics.comparison import Comparison
from orchestrator.report.arms import group_arms
from orchestrator.report.contrast import arm_contrast
from orchestrator.report.figures import SETS
from orchestrator.report.read import StudyRecord, read_study
from orchestrator.report.trial import Trial
from orchestrator.storage.files import (
    BENCHMARKS_SCHEMA,
    GENERATIONS_SCHEMA,
    LOSSES_SCHEMA,
    MEASURES_SCHEMA,
    PLAN_SCHEMA,
    SUMMARY_FILE,
    TRAIN_LOG_SCHEMA,
)

SCHEMAS = {
    "losses": LOSSES_SCHEMA,
    "train_log": TRAIN_LOG_SCHEMA,
    "plan": PLAN_SCHEMA,
    "measures": MEASURES_SCHEMA,
    "generations": GENERATIONS_SCHEMA,
    "benchmarks": BENCHMARKS_SCHEMA,
}
MEASURED = ("losses", "generations", "benchmarks")  # of models that no trial trained
# Whose trial a line is; the columns that every table begins with.
TRIAL = pa.schema([("trial", pa.string()), ("arm", pa.string())])
CURVES = pa.schema([*TRIAL, ("set", pa.string()), ("step", pa.int64()), ("loss", pa.float64())])
# Of summary.csv what is text whatever it looks like.
TEXT = ("trial", "arm", "status", "twin_of", "set_sha256", "order_sha256")
KINDS: dict[str, pa.DataType] = {"int": pa.int64(), "float": pa.float64(), "Verdict": pa.string()}
COMPARISONS = pa.schema(
    [
        ("a", pa.string()),
        ("b", pa.string()),
        ("set", pa.string()),
        ("step", pa.int64()),
        *((each.name, KINDS[str(each.type)]) for each in fields(Comparison)),
    ]
)


@dataclass(frozen=True, eq=False)
class Results:
    """What a study left, finished or not, as Arrow tables; `.to_pandas()` makes data frames.

    But for `trials`, `comparisons` and `evaluated` a table begins with the columns `trial` and
    `arm`, which trials that differ in their seeds alone share, and goes on with those of the file
    of that name in the folder of each trial. What no trial left is a table without rows.

    Attributes:
        folder: of the study.
        faults: a sentence for each file that cannot be read, and for each trial that failed.
    """

    folder: Path
    _record: StudyRecord = field(repr=False)

    @property
    def faults(self) -> list[str]:
        measured = [*self._record.trials, *self._record.evaluated]
        return [fault for trial in measured for fault in trial.faults]

    @cached_property
    def trials(self) -> pa.Table:
        """A row a trial, with its settings, status, losses and digests: summary.csv."""
        options = csv.ConvertOptions(
            column_types=dict.fromkeys(TEXT, pa.string()), strings_can_be_null=True
        )
        lines = csv.ParseOptions(newlines_in_values=True)
        return csv.read_csv(
            self.folder / SUMMARY_FILE, parse_options=lines, convert_options=options
        )

    @cached_property
    def curves(self) -> pa.Table:
        """Mean loss by trial, `set` (query, held_out, off_target) and `step`, in nats a token."""
        rows = [
            {"trial": trial.name, "arm": trial.arm, "set": name, "step": step, "loss": loss}
            for trial in self._record.trials
            for name in SETS
            for step, loss in zip(*(side.tolist() for side in trial.mean_losses(name)), strict=True)
        ]
        return pa.Table.from_pylist(rows, CURVES)

    @cached_property
    def losses(self) -> pa.Table:
        """The loss of every test item at each measured step; null where its answer was cut away.

        Where a study measured a part of the items, the column `estimated` marks what was not.
        """
        return self._joined("losses")

    @cached_property
    def train_log(self) -> pa.Table:
        """A line a step: training loss, learning rate, tokens, seconds."""
        return self._joined("train_log")

    @cached_property
    def plans(self) -> pa.Table:
        """The rows of each trial in the order of training."""
        return self._joined("plan")

    @cached_property
    def measures(self) -> pa.Table:
        """How near, by nine measures, the rows seen by a step are to each test task.

        The task is null for the whole query set; smaller is nearer.
        """
        return self._joined("measures")

    @cached_property
    def generations(self) -> pa.Table:
        """Generated answers and their scores, where the study asked for them."""
        return self._joined("generations")

    @cached_property
    def benchmarks(self) -> pa.Table:
        """What each trial's saved models scored in benchmarks, where the study asked for them."""
        return self._joined("benchmarks")

    @cached_property
    def evaluated(self) -> dict[str, pa.Table]:
        """`losses`, `generations` and `benchmarks` of models that no trial of the study trained.

        What `orchestrator evaluate` left: the columns of the tables of these names, with the
        column `model`, what the report calls it, in place of `trial` and `arm`.
        """
        return {name: _stacked(name, self._record.evaluated, ("model",)) for name in MEASURED}

    @cached_property
    def comparisons(self) -> pa.Table:
        """Arm `a` against arm `b`, each pair of arms that finished, on each test set.

        The difference of their losses, a minus b, over the tasks and seeds that both have, with
        its 95% interval, at each `step`; the row whose step is null is of the area under the
        curve. The other columns are those of `core.statistics.comparison.Comparison`.
        """
        rows: list[dict[str, Any]] = []
        for a, b in combinations(group_arms(self._record.trials), 2):
            for name in SETS:
                contrast = arm_contrast(a, b, name)
                if contrast is None:
                    continue
                both = {"a": a.name, "b": b.name, "set": name}
                by_step = [*contrast.by_step.items(), (None, contrast.by_area)]
                rows += [both | {"step": step} | asdict(gap) for step, gap in by_step]
        return pa.Table.from_pylist(rows, COMPARISONS)

    def _joined(self, name: str) -> pa.Table:
        return _stacked(name, self._record.trials, TRIAL.names)


def read_results(folder: str | Path) -> Results:
    """The results of a study, read back from its folder.

    Args:
        folder: `<output>/<study>`.

    Raises:
        DataError: it holds no summary.csv.
    """
    return Results(Path(folder), read_study(Path(folder)))


def _stacked(name: str, trials: Iterable[Trial], whose: Sequence[str]) -> pa.Table:
    """One table of all trials, one below the other.

    Args:
        whose: what the first columns are called, the name of the trial and perhaps its arm.
    """
    parts = [pa.schema([*((one, pa.string()) for one in whose), *SCHEMAS[name]]).empty_table()]
    for trial in trials:
        if name not in trial.tables:
            continue
        table = trial.tables[name].replace_schema_metadata(None)
        labels = [pa.repeat(one, len(table)) for one in (trial.name, trial.arm)[: len(whose)]]
        parts.append(pa.table([*labels, *table.columns], [*whose, *table.column_names]))
    return pa.concat_tables(parts, promote_options="permissive")
