"""An axis of a sweep: the values that one key takes."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from orchestrator.config.faults import show
from orchestrator.config.section import Section

# What the value of an axis can be given by; `grid` alone multiplies the trials.
KINDS = ("grid", "choice", "uniform", "loguniform", "randint", "quniform")

Values = Annotated[list[Any], Field(min_length=1)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class Axis(Section):
    """The values of one key: all of a list, or one draw for each of `sweep.samples`. A list alone
    is a grid."""

    grid: Values | None = None
    """All of the list: grids multiply the trials."""
    choice: Values | None = None
    """One of the list."""
    uniform: Range | None = None
    """`[low, high]`."""
    loguniform: Range | None = None
    """`[low, high]`, uniform in the logarithm."""
    randint: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    """`[low, high]`: a whole number from low to high - 1."""
    quniform: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    """`[low, high, step]`: one of low, low + step, ... up to high, each as likely."""

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="before")
    @classmethod
    def _of_a_list(cls, given: Any) -> Any:
        if not isinstance(given, dict | list | Axis):
            raise ValueError(
                f"{show(given)} is no axis: give a list of values, such as {show([given])}, or one "
                f"of {', '.join(KINDS)}"
            )
        return {"grid": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _one_kind_within_bounds(self) -> Axis:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            kinds = " and ".join(given) if given else "none"
            raise ValueError(f"an axis has one of {', '.join(KINDS)}, and here is {kinds}")
        if self.kind in ("grid", "choice"):
            return self
        low, high, *step = getattr(self, self.kind)
        if low >= high:
            raise ValueError(f"{self.kind} runs from {low} to {high}: give the smaller bound first")
        if self.kind == "loguniform" and low <= 0:
            raise ValueError(f"loguniform starts at {low}: give bounds above 0, or use uniform")
        if step and not 0 < step[0] <= high - low:
            raise ValueError(
                f"quniform has the step {step[0]}: give one above 0 and up to {high - low:g}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_other_kinds(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}

    @property
    def options(self) -> int | None:
        """How many values there are to draw; None of a range."""
        if self.choice is not None:
            return len(self.choice)
        if self.quniform is not None:
            low, high, step = self.quniform
            # A quotient such as 0.3 / 0.1 falls just short of the whole number that is meant.
            return math.floor((high - low) / step + 1e-9) + 1
        return None

    def draw(self, generator: np.random.Generator) -> Any:
        """Draws one value of the distribution."""
        if self.options is not None:
            return self.value(int(generator.integers(self.options)))
        low, high = self.bounds
        if self.randint is not None:
            return self.value(int(generator.integers(int(low), int(high))))
        if self.kind == "loguniform":
            return self.value(math.exp(generator.uniform(math.log(low), math.log(high))))
        return self.value(generator.uniform(low, high))

    @property
    def bounds(self) -> tuple[float, float]:
        """The two ends of a range; the upper one of a randint is above its last whole number."""
        low, high = getattr(self, self.kind)
        return low, high

    def value(self, drawn: float) -> Any:
        """The value of the key, short enough to be read in a name.

        Args:
            drawn: the index of one of `options`, otherwise a number within the bounds.
        """
        if self.choice is not None:
            return self.choice[int(drawn)]
        if self.quniform is not None:
            low, _, step = self.quniform
            value = float(f"{low + step * int(drawn):.12g}")
            return int(value) if low.is_integer() and step.is_integer() else value
        if self.randint is not None:
            return int(drawn)
        low, high = self.bounds
        return min(max(float(f"{drawn:.6g}"), low), high)
