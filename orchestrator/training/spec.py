"""Everything a trial needs, as values and paths that any launcher can hand over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config.evaluation import scheduled_steps
from orchestrator.config.schema import TrialConfig
from orchestrator.core.order import Count, rows_fed, step_count
from orchestrator.core.plan import digests
from orchestrator.data.dataset import TEST_SETS
from orchestrator.storage.files import INSTANCES_FILE, PLAN_FILE

# Raised when a change of the loop changes results: trials of an older one are run again.
TRAIN_VERSION = 3  # rows of a micro-batch lie end to end


@dataclass(frozen=True)
class TrialSpec:
    """What the training of one trial needs: its configuration and its folders.

    Attributes:
        trial: its name.
        key: digest of its configuration.
        config: its configuration.
        model: folder of the pretrained model; `model_digest` tells its bytes.
        dataset: folder of `instances.parquet`.
        tokens: folder of the token table; `tokens_digest` tells its content.
        folder: the trial's own folder; holds `plan.parquet` and takes the results.
        store: shared artifacts; takes the losses of the untouched model.
        reward_model: folder of the model that scores generated answers; None where none does.
        references: folder of the right answers of test items; None where each has one.
        test_tokens: folder of the token table of the test sets, and its digest, where they are
            read at a length of their own; None: they are measured by `tokens`.
    """

    trial: str
    key: str
    config: TrialConfig
    model: Path
    model_digest: str
    dataset: Path
    tokens: Path
    tokens_digest: str
    folder: Path
    store: Path
    reward_model: Path | None = None
    references: Path | None = None
    test_tokens: tuple[Path, str] | None = None

    @property
    def measured_tokens(self) -> tuple[Path, str]:
        """Folder and digest of the token table that the test sets are measured by."""
        return self.test_tokens or (self.tokens, self.tokens_digest)

    def __str__(self) -> str:
        return self.trial  # Ray Tune makes folder names of it


@dataclass(frozen=True)
class Inputs:
    """What training reads of the files that a spec names: the plan, and the instances.

    Attributes:
        plan: (n,) int64 rows in training order, of all passes over the data.
        ids, tasks: (rows,) object arrays, of every instance of the study.
        sets: rows of each test set that the study has, as int64.
    """

    plan: NDArray[np.int64]
    ids: NDArray[np.object_]
    tasks: NDArray[np.object_]
    sets: dict[str, NDArray[np.int64]]


def has_plan(spec: TrialSpec) -> bool:
    """Whether the trial can be trained; one without a plan failed when that was to be made."""
    return (spec.folder / PLAN_FILE).is_file()


def read_inputs(spec: TrialSpec) -> Inputs:
    """Read the plan and the columns that training needs."""
    plan = pq.read_table(spec.folder / PLAN_FILE, columns=["row"])["row"].to_numpy()
    return inputs_of(spec.dataset, plan)


def inputs_of(dataset: Path, plan: NDArray[np.int64]) -> Inputs:
    """The columns of a dataset that training needs, beside a plan for it."""
    columns = ["row", "id", "task", "split"]
    table = pq.read_table(dataset / INSTANCES_FILE, columns=columns)
    split = table["split"].to_numpy(zero_copy_only=False)
    rows = table["row"].to_numpy()
    sets = {name: rows[split == name] for name in TEST_SETS}
    return Inputs(
        plan=plan,
        ids=table["id"].to_numpy(zero_copy_only=False),
        tasks=table["task"].to_numpy(zero_copy_only=False),
        sets={name: members for name, members in sets.items() if len(members)},
    )


def planned_steps(config: TrialConfig, rows: int) -> int:
    """Optimizer steps of a trial whose plan has so many rows, over all passes."""
    training = config.training
    return step_count(rows, training.global_batch, training.max_steps, training.epochs)


def planned_rows_fed(config: TrialConfig, steps: Count, rows: int) -> Count:
    """Rows that a trial is fed in its first steps; its plan has so many, over all passes."""
    return rows_fed(steps, rows, config.training.global_batch, config.training.epochs)


def planned_certificate(config: TrialConfig, ids: Sequence[str]) -> dict[str, str]:
    """The certificate that a trial is to earn: of the rows that its plan has it trained on.

    Args:
        ids: of the plan's rows, in order, over all passes.
    """
    steps = np.arange(planned_steps(config, len(ids)) + 1)
    ends = planned_rows_fed(config, steps, len(ids)).tolist()
    return digests([ids[first:end] for first, end in pairwise(ends)])


def trial_steps(spec: TrialSpec) -> int:
    """Optimizer steps of a trial whose plan is written; reads the plan's length alone."""
    return planned_steps(spec.config, pq.read_metadata(spec.folder / PLAN_FILE).num_rows)


def evaluation_steps(config: TrialConfig, rows: int) -> list[int]:
    """The steps after which test losses are measured, rising: 0, those asked for, and the last."""
    return scheduled_steps(config.evaluation.every, planned_steps(config, rows))
