"""One method a file; this table names them."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core.arrangements import random, tma
from orchestrator.core.arrangements.request import Request
from orchestrator.core.plan import Plan

__all__ = ["METHODS", "Request", "arrange"]

METHODS: dict[str, Callable[[Request], Plan]] = {
    "random": random.arrange,
    "tma": tma.arrange,
}


def arrange(method: str, request: Request) -> Plan:
    """The plan of a method.

    Raises:
        ValueError: for a method that does not exist, or for settings it cannot meet.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} does not exist: choose {', '.join(sorted(METHODS))}")
    return METHODS[method](request)
