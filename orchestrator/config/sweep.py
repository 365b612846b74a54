"""The `sweep` section: the values that each key takes, what is left out, and how trials are run."""

from __future__ import annotations

import zlib
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from orchestrator.config.axis import Axis
from orchestrator.config.faults import either
from orchestrator.config.section import Section, Seed

MAX_TRIALS = 100_000
SetLoss = Literal["query_loss", "held_out_loss", "off_target_loss"]
# What a trial runs on: it must be known to fit before the first one starts.
PLACEMENT = {
    "training.workers", "training.gpus_per_worker", "training.cpus_per_worker",
    "training.node_labels",     "embedding.workers", "embedding.gpus_per_worker",
}  # fmt: skip


class Condition(Section):
    """What a value is compared with where equality does not say it; all that is given holds."""

    above: float | None = None
    """The value is larger."""
    below: float | None = None
    """The value is smaller."""
    set: bool | None = None
    """true: the key has a value other than null; false: it has none."""

    @model_validator(mode="after")
    def _says_something(self) -> Condition:
        if self.above is None and self.below is None and self.set is None:
            raise ValueError("give above, below or set, as in {above: 10}")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


# Dotted key -> a value to equal, a list to equal or to be in, or a condition.
Constraint = Annotated[
    dict[str, Condition | list[Any] | bool | int | float | str | None], Field(min_length=1)
]


class Scheduler(Section):
    """Which trials are stopped early.

    asha: at `grace_steps` and at each multiple of it by a power of `reduction_factor`, all but the
    best 1 / reduction_factor (Li et al., arXiv 1810.05934); median: after `grace_steps`, what is
    worse than the median of the other trials' running averages (Golovin et al., Google Vizier,
    KDD 2017). Not for a comparison of arms: a stopped trial has no end.
    """

    type: Literal["fifo", "asha", "median"] = "fifo"
    """fifo: none is stopped."""
    metric: SetLoss = "query_loss"
    """What trials are compared by."""
    grace_steps: PositiveInt = 100
    """Optimizer steps before a trial may be stopped."""
    reduction_factor: Annotated[float, Field(ge=2)] = 4.0
    """One in so many trials goes on (asha)."""

    @model_validator(mode="after")
    def _reads_what_is_given(self) -> Scheduler:
        unread = sorted(self.model_fields_set - self._reads())
        if unread:
            raise ValueError(
                f"type: {self.type} does not read {', '.join(unread)}: leave "
                f"{'it' if len(unread) == 1 else 'them'} out, or set type: "
                + ("asha" if "reduction_factor" in unread else either(["asha", "median"]))
            )
        return self

    def _reads(self) -> set[str]:
        stopping = {"type", "metric", "grace_steps"}
        return {
            "fifo": {"type"}, "median": stopping, "asha": stopping | {"reduction_factor"}
        }[self.type]  # fmt: skip

    @model_serializer(mode="wrap")
    def _without_unread_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self._reads()}


class Search(Section):
    """An algorithm that chooses each trial's values by how the trials before it ended.

    optuna: the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011). For settings such
    as the learning rate: arms are compared by a grid, which gives each of them the same trials.
    """

    type: Literal["optuna"] = "optuna"
    """Needs the extra `optuna`."""
    metric: SetLoss = "query_loss"
    """What is to be made small, after a trial's last step."""


class Sweep(Section):
    """Trials: the product of all grids of `parameters` and all lists of `paired`, repeated
    `samples` times with a fresh draw of each distribution."""

    parameters: dict[str, Axis] = {}
    """Dotted key -> its values."""
    paired: list[Annotated[list[dict[str, Any]], Field(min_length=1)]] = []
    """Lists of settings that change together; each setting maps dotted keys to values, and may
    carry `label`, the trial's name."""
    samples: Annotated[int, Field(ge=1, le=MAX_TRIALS)] = 1
    """How often distributions are drawn; with search, trials in all."""
    seed: Seed = 0
    """Decides the draws; the trials' own seed is the key `seed` of the study."""
    search: Search | None = None
    """null: the draws of a sample know nothing of other samples."""
    constraints: list[Constraint] = []
    """Combinations to leave out, each a mapping of dotted keys to a value to equal, a list to equal
    or to be in, or a condition; one of which all holds is left out."""
    scheduler: Scheduler = Scheduler()
    """Which trials are stopped early."""
    max_concurrent: PositiveInt = 1
    """Trials at once."""
    failure_retries: Annotated[int, Field(ge=0)] = 0
    """Attempts after one whose process died."""

    @model_validator(mode="after")
    def _samples_something(self) -> Sweep:
        if self.samples > 1 and all(axis.kind == "grid" for axis in self.parameters.values()):
            seeds = list(range(min(self.samples, 3)))
            raise ValueError(
                f"samples: {self.samples} repeats the draws of distributions, and no axis has "
                f"one: to repeat trials, sweep their seed, as in parameters: {{seed: {{grid: "
                f"{seeds}}}}}"
            )
        return self

    @model_validator(mode="after")
    def _can_be_searched(self) -> Sweep:
        if self.search is None:
            return self
        grids = [key for key, axis in self.parameters.items() if axis.kind == "grid"]
        if grids or self.paired or not self.parameters:
            other = f"the grid of {grids[0]}" if grids else "paired" if self.paired else "no axis"
            raise ValueError(
                f"search chooses every value, and here is {other}: give each key of parameters "
                "choice, uniform, loguniform, randint or quniform, and the number of trials by "
                "samples"
            )
        if fixed := sorted(PLACEMENT & self.parameters.keys()):
            raise ValueError(
                f"search cannot choose {fixed[0]}, which says what a trial runs on: set it in the "
                "base"
            )
        return self

    def values(self, key: str, sample: int) -> list[Any]:
        """The values of an axis in one of `samples`: of a distribution one.

        A draw depends on the sweep's seed, the sample and the key alone: all combinations of a
        sample share it, so that arms are compared at equal settings, and neither another axis nor
        a longer grid changes it.
        """
        axis = self.parameters[key]
        if axis.grid is not None:
            return axis.grid
        return [axis.draw(np.random.default_rng([self.seed, sample, zlib.crc32(key.encode())]))]
