"""`data.held_out` as a part of another set: a validation split by fraction, drawn by a seed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PositiveInt, model_validator

from orchestrator.config.section import Section, Seed


class HoldOut(Section):
    """Test instances that are taken out of the pool or of the query set.

    They are drawn from what the set's own options keep, before anything else looks at it: the pool
    or the query set holds the others, and a pool row that repeats one of them leaks like a row of
    any test set.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    origin: Annotated[Literal["pool", "query"], Field(alias="from")]
    """The set that they are taken out of."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Part of its instances; with `by: task` of its tasks."""
    rows: PositiveInt | None = None
    """Instances; with `by: task` tasks are taken until they hold so many."""
    seed: Seed = 0
    """Decides which: the same ones in any order of the files, on any number of processes."""
    by: Literal["instance", "task"] = "instance"
    """task: a task is taken as a whole or not at all. instance: one by one, so that a pool may
    share tasks with what was taken out of it."""

    @model_validator(mode="after")
    def _says_how_much(self) -> HoldOut:
        if (self.fraction is None) == (self.rows is None):
            raise ValueError("give fraction or rows, one of them, as in fraction: 0.1")
        return self
