"""What every section of a study file has in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what numpy's legacy generator accepts


class Section(BaseModel):
    """Frozen, and strict: unknown keys and wrong types are refused.

    The text below a field is its explanation in experiments/REFERENCE.md, which
    `python -m orchestrator.config.reference` writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def later(default: Any, **constraints: Any) -> Any:
    """The field of a key that older studies do not know.

    Where it has its default it is not written, so that their digests and the names of their trials
    stay as they are.
    """
    return Field(default=default, exclude_if=lambda value: value == default, **constraints)
