"""What `import orchestrator` gives: plans, studies and their results, for notebooks and scripts.

Ray and MLflow are imported by `Study.run` alone, torch by it and by a plan of texts. For a study
from the terminal, and for all that is not here, see `cli`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from orchestrator import config
from orchestrator.config.layout import Layout
from orchestrator.config.load import check_settings
from orchestrator.core import plan as core
from orchestrator.core.arrangements import Needs
from orchestrator.core.bigrams import count_bigrams
from orchestrator.errors import ConfigError, DataError, UserError
from orchestrator.host.folders import check_written
from orchestrator.report.results import Results, read_results
from orchestrator.screen import quiet_cell
from orchestrator.stages.arrange import arranges_vectors, needs_of, plan_table
from orchestrator.storage.artifacts import write_table
from orchestrator.study.arrays import ArraySettings, check_tasks, plan_arrays
from orchestrator.study.inputs import embedded, row_ids, row_tasks, side
from orchestrator.trials import Trial, expand

__all__ = ["Plan", "Results", "Study", "Trial", "plan", "read_results"]


@dataclass(frozen=True, eq=False)
class Plan:
    """Which row of a pool comes when.

    Attributes:
        rows: (n,) int64, rows of the pool in training order, each once: `texts[rows[0]]` is first.
        turn: (n,) int64; 0, 1, ... counted from the near end, -1, -2, ... from the far end. All 0
            where a method has no turns.
        unit: (n,) int64, what was moved as one: the row itself, its task or its cluster.
        distance: (n,) float64, of the unit to the query that chose it, or what the method sorted
            by, smaller is nearer; NaN where it knows neither.
        query: (n,) int64, the query that chose that unit: `queries[query[0]]`; -1 where no single
            one did.
        ids: of the rows, in training order.
        tasks: of the rows, likewise; None where no tasks were given.
        note: what the method says of how it worked.
    """

    rows: NDArray[np.int64]
    turn: NDArray[np.int64]
    unit: NDArray[np.int64]
    distance: NDArray[np.float64]
    query: NDArray[np.int64]
    ids: list[str] = field(repr=False)
    tasks: list[str | None] = field(repr=False)
    note: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """SHA-256 of the ids in their order: equal where the same rows come in the same order.

        It is the `order_sha256` of a trial that trains the plan with `training.global_batch: 1`.
        """
        return core.order_digest([name] for name in self.ids)

    def table(self) -> pa.Table:
        """The plan as plan.parquet holds it: position, row, id, task, turn, unit, distance, query.

        Distance and query, which is its number, are null where there is none; `.to_pandas()` makes
        a data frame.
        """
        columns = core.Plan(
            self.rows, self.turn, self.unit, self.distance, self.note, self.query
        )  # fmt: skip
        return plan_table(
            columns, pa.array(self.ids, pa.string()), pa.array(self.tasks, pa.string())
        )

    def save(self, path: str | Path) -> None:
        """Write `table()` to a Parquet file; its folder is made where it is missing.

        Raises:
            UserError: the file cannot be written, or is to be called otherwise.
        """
        out = Path(path)
        if out.suffix != ".parquet" or out.is_dir():
            raise UserError(f"{out}: name a file that ends in .parquet, as in plan.parquet")
        check_written(out.absolute().parent, "save the plan in another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_table(out, self.table())


def plan(  # noqa: PLR0913  (in a notebook each is a keyword)
    pool: ArrayLike | Sequence[str],
    queries: ArrayLike | Sequence[str],
    *,
    tasks: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    model: str | None = None,
    store: str | Path = "outputs/store",
    seed: int = 0,
    method: str = "tma",
    **settings: Any,
) -> Plan:
    """Arrange a pool by its nearness to queries: no study, no cluster.

        plan(vectors, query_vectors, arm="min", rows=30_000)
        plan(texts, query_texts, model="all-MiniLM-L6-v2", method="rds")

    Args:
        pool: (rows, d) floating-point vectors, scaled to length one where they are not, perhaps
            memory-mapped; or a text a row.
        queries: the same of the test items that the arrangement may look at.
        tasks: the task of each row; needed where tasks are moved or dealt.
        ids: the name of each row, each another one; None: its number.
        model: embeds texts in this process, where the arrangement looks at vectors: a name or the
            path of a folder, as `embedding.model` of a study.
        store: folder that keeps models, as a study's; nothing is kept of a model in a folder.
        seed: of every random choice.
        method: one of the methods of experiments/README.md, or of an installed package.
        settings: the other keys of the section `arrangement` in experiments/REFERENCE.md, such as
            `arm`, `rows`, `granularity` and `options`.

    Raises:
        UserError: for settings, arrays, texts, tasks and ids that do not fit, in a sentence.
    """
    arrangement = {"method": method, **settings}
    plain = _plain({"seed": seed, "arrangement": arrangement}, "plan()")
    chosen = check_settings(ArraySettings, plain, "plan()")
    check_tasks(chosen.arrangement, tasks is not None, "tasks")
    train, test = side(pool, "pool"), side(queries, "queries")
    names, labels = row_ids(ids, len(train)), row_tasks(tasks, len(train))
    bigrams, vectors = None, None
    if isinstance(train, list) and isinstance(test, list):
        needs = needs_of(chosen.arrangement, chosen.seed)
        _check_no_model(needs)
        if needs.bigrams:
            bigrams = count_bigrams(train, test)
        if arranges_vectors(chosen.arrangement):
            vectors = embedded(train, test, model, Path(store))
    elif isinstance(train, list) or isinstance(test, list):
        raise DataError("one of pool and queries holds texts, the other vectors: give both alike")
    elif model is not None:
        raise UserError(f"model {model!r} embeds texts, and these are vectors: leave it out")
    else:
        vectors = train, test
    order = plan_arrays(
        vectors, pa.array(labels, pa.string()), chosen,
        called=("pool", "queries"), ids=pa.chunked_array([names]), bigrams=bigrams,
    )  # fmt: skip
    return Plan(
        order.rows, order.turn, order.unit, order.distance,
        np.full(len(order), -1) if order.query is None else order.query,
        [names[row] for row in order.rows], [labels[row] for row in order.rows], order.note,
    )  # fmt: skip


def _check_no_model(needs: Needs) -> None:
    if needs.answers:
        raise UserError(
            "this arrangement counts the tokens of answers, and only a study has a model that "
            "says what a token is: set rows in place of answer_tokens and another method than "
            "length_matched, or plan a study with `orchestrator arrange STUDY.yaml`"
        )
    if needs.influence:
        raise UserError(
            "this arrangement foresees the training of a model, and only a study has one: set "
            "another method than searched, or plan a study with `orchestrator arrange STUDY.yaml`"
        )


@dataclass(frozen=True)
class Study:
    """A study file with what is laid over it, checked, and the trials that it stands for.

    Attributes:
        config: the study as types, such as `config.arrangement.rows`.
    """

    config: config.Study

    @classmethod
    def load(
        cls,
        path: str | Path,
        overlays: str | Path | Sequence[str | Path] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Study:
        """Read and check a study.

            Study.load("study.yaml", "laptop.yaml", {"seed": 3, "training.max_steps": 8})

        Args:
            path: the YAML file.
            overlays: partial studies laid over it, as by `--with`; later ones win.
            settings: dotted key -> value, as by `--set`; over any file.

        Raises:
            ConfigError: all that is wrong, each fault with its file and line or its setting.
        """
        files = [overlays] if isinstance(overlays, str | Path) else overlays
        overrides = [
            f"{key}={json.dumps(value)}" for key, value in _plain(settings or {}, "--set").items()
        ]
        return cls(config.load_study(Path(path), overrides, [Path(file) for file in files]))

    @cached_property
    def trials(self) -> list[Trial]:
        """What `run` would train, each with its `name`, `arm`, `settings` and whole `config`.

        Raises:
            ConfigError: every fault of every combination of the sweep.
        """
        return expand(self.config)

    @property
    def folder(self) -> Path:
        """Where its results are, or will be."""
        return Layout.of(self.config).folder

    def run(self) -> Results:
        """Run the study to its end, or finish what an earlier run of it left.

        As `orchestrator run` does, on Ray: on this machine, or on the cluster that RAY_ADDRESS
        names. Other processes are started, so a script calls it below `if __name__ ==
        "__main__":`. A trial that fails raises nothing: its `status` in `Results.trials` says so.

        Raises:
            UserError: before anything starts, for what the user can mend.
        """
        with quiet_cell(Path(os.devnull)):  # what libraries say while they are imported
            from orchestrator.study.run import run_study
        run_study(self.config)
        return read_results(self.folder)


def _plain(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Settings as JSON would have them: numpy's numbers, tuples and paths too."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=_simple))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            [f"{origin}: {error}: give numbers, text, true or false, lists and mappings of them"]
        ) from None
    return plain


def _simple(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is a {type(value).__name__}")
