"""What a trial gathers while it trains, in memory and in its checkpoints, and as its tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.training import Training
from orchestrator.core.order import check_order
from orchestrator.core.plan import digests
from orchestrator.storage.files import (
    GENERATIONS_FILE,
    GENERATIONS_SCHEMA,
    LOSSES_FILE,
    LOSSES_SCHEMA,
    REALISED_SCHEMA,
    TRAIN_LOG_FILE,
    TRAIN_LOG_SCHEMA,
)
from orchestrator.training.spec import Inputs


@dataclass
class History:
    """What one rank has gathered since the trial's first step.

    Attributes:
        fed: (step, rank, row) of each row that this rank put through the model.
        log: a line of `TRAIN_LOG_SCHEMA` for each step; the same on every rank but for the
            seconds.
        losses: tables of `LOSSES_SCHEMA`.
        generations: tables of `GENERATIONS_SCHEMA`.
    """

    fed: list[tuple[int, int, int]] = field(default_factory=list)
    log: list[dict[str, float]] = field(default_factory=list)
    losses: list[pa.Table] = field(default_factory=list)
    generations: list[pa.Table] = field(default_factory=list)

    def tables(self) -> dict[str, pa.Table]:
        """Losses, log and, where there are any, generated answers, by file name."""
        tables = {
            LOSSES_FILE: pa.concat_tables(self.losses),
            TRAIN_LOG_FILE: pa.Table.from_pylist(self.log, schema=TRAIN_LOG_SCHEMA),
        }
        if self.generations:
            tables[GENERATIONS_FILE] = pa.concat_tables(self.generations)
        return tables


def write_history(history: History, folder: Path, rank: int) -> None:
    """Write what a rank fed, and on the first rank the tables, which are the same on all."""
    np.save(folder / f"fed-{rank}.npy", np.array(history.fed, np.int64).reshape(-1, 3))
    if rank == 0:
        for name, table in history.tables().items():
            pq.write_table(table, folder / name)


def read_history(folder: Path, rank: int) -> History:
    """Reads the history that `write_history` left for a rank."""
    fed = np.load(folder / f"fed-{rank}.npy", allow_pickle=False)
    generations = folder / GENERATIONS_FILE
    return History(
        fed=[(step, by, row) for step, by, row in fed.tolist()],
        log=pq.read_table(folder / TRAIN_LOG_FILE).to_pylist(),
        losses=[pq.read_table(folder / LOSSES_FILE)],
        generations=[pq.read_table(generations)] if generations.is_file() else [],
    )


def loss_table(
    step: int, name: str, rows: NDArray[np.int64], losses: NDArray[np.float64],
    answer_tokens: NDArray[np.int64], inputs: Inputs,
) -> pa.Table:  # fmt: skip
    """Losses of one test set after a step, as a table of `LOSSES_SCHEMA`.

    Args:
        name: of the test set.
        rows: (n,) int64 instances of the study.
        losses: (n,) float64 in nats; NaN, null in the table, where an answer was cut away.
        answer_tokens: (n,) int64.
    """
    columns = {
        "loss": pa.array(losses, mask=np.isnan(losses)),
        "tokens": answer_tokens.astype(np.int32),
    }
    return pa.table(_items(step, name, rows, inputs) | columns, schema=LOSSES_SCHEMA)


def generation_table(
    step: int, name: str, rows: NDArray[np.int64], answers: pa.Table, inputs: Inputs
) -> pa.Table:
    """Answers to one test set after a step, as a table of `GENERATIONS_SCHEMA`.

    Args:
        name: of the test set.
        rows: (n,) int64 instances of the study.
        answers: n lines with the columns `ANSWER_COLUMNS`.
    """
    items = _items(step, name, rows, inputs)
    columns = {name: answers[name] for name in GENERATIONS_SCHEMA.names if name not in items}
    return pa.table(items | columns, schema=GENERATIONS_SCHEMA)


def realised_table(fed: Iterable[tuple[int, int, int]], ids: NDArray[np.object_]) -> pa.Table:
    """(step, rank, row) triples of all ranks as a table sorted by step and rank."""
    columns = np.array(sorted(fed), np.int64).reshape(-1, 3).T
    return pa.table(
        {"step": columns[0].astype(np.int32), "rank": columns[1].astype(np.int32),
         "row": columns[2], "id": ids[columns[2]]},
        schema=REALISED_SCHEMA,
    )  # fmt: skip


def order_certificate(
    realised: pa.Table, inputs: Inputs, training: Training, steps: int
) -> dict[str, str]:
    """Digests of the set and the order that were fed, once they are seen to be the planned ones.

    Args:
        realised: a table of `REALISED_SCHEMA`.
        training: tells the rows of a step, and the passes over the data.
        steps: of the whole trial.

    Raises:
        OrderError: another row was fed than the planned one, or at another step.
    """
    step, rows = realised["step"].to_numpy(), realised["row"].to_numpy()
    check_order(inputs.plan, step, rows, training.global_batch, steps, training.epochs)
    return digests([inputs.ids[rows[step == number]] for number in range(1, steps + 1)])


def _items(step: int, name: str, rows: NDArray[np.int64], inputs: Inputs) -> dict[str, object]:
    """The columns that say which test item was evaluated, and after which step."""
    return {
        "step": np.full(len(rows), step, np.int32),
        "set": [name] * len(rows),
        "id": inputs.ids[rows],
        "task": inputs.tasks[rows],
    }
