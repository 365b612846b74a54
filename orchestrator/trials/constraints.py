"""Combinations that make no sense: left out of a sweep and counted.

A value is looked up where it was written, then in the validated configuration, or among the
defaults where validation refused the combination. So a constraint can drop what validation would
refuse, and a key that the combination's method does not read still counts as written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from orchestrator.config.faults import key_fault
from orchestrator.config.schema import TrialConfig
from orchestrator.config.sweep import Condition, Sweep

DEFAULTS = {
    name: field.default
    for name, field in TrialConfig.model_fields.items()
    if not field.is_required()
}


def constraint_faults(sweep: Sweep) -> list[str]:
    """Keys of constraints that do not exist."""
    faults = [
        (number, key_fault(tuple(key.split(".")), TrialConfig))
        for number, constraint in enumerate(sweep.constraints)
        for key in constraint
    ]
    return [f"sweep.constraints.{number}: {fault}" for number, fault in faults if fault]


def holds(
    constraint: Mapping[str, Any], written: dict[str, Any], config: TrialConfig | None
) -> bool:
    """Do all conditions of a constraint hold?

    Args:
        constraint: dotted key -> condition.
        written: what the base and the combination say, as a tree.
        config: the validated configuration; None where validation refused it.
    """
    return all(
        _meets(_value(key.split("."), written, config or DEFAULTS), condition)
        for key, condition in constraint.items()
    )


def _value(path: list[str], *places: Any) -> Any:
    """The value at the first place that has it; None where none has."""
    for place in places:
        node = place
        for part in path:
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, BaseModel) and part in type(node).model_fields:
                node = getattr(node, part)
            else:
                break
        else:
            return node
    return None


def _meets(value: Any, condition: Any) -> bool:
    if not isinstance(condition, Condition):
        options = condition if isinstance(condition, list) else []
        return _equal(value, condition) or any(_equal(value, option) for option in options)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (
        (condition.set is None or condition.set == (value is not None))
        and (condition.above is None or (number and value > condition.above))
        and (condition.below is None or (number and value < condition.below))
    )


def _equal(value: Any, other: Any) -> bool:
    # In Python True equals 1.
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
