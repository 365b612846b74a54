"""A pool of several sources: what each is called, and whether what is asked of each can be."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from orchestrator.config.faults import show

if TYPE_CHECKING:  # which is validated by what stands here
    from orchestrator.config.sources import SourceOptions

AMOUNTS = ("share", "weight", "rows")
OF_LISTS = ("source", *AMOUNTS)  # keys that only an entry of a list has


def source_name(source: SourceOptions) -> str:
    """The value of `source`, or what its file, folder or data set is called."""
    if source.source is not None:
        return source.source
    for key in ("path", "name", "split"):
        if key in type(source).model_fields:
            stem = PurePath(getattr(source, key)).name.partition(".")[0]
            return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or source.reader
    return source.reader


def list_fault(name: str, source: SourceOptions) -> str | None:
    """What is wrong with a source that stands alone; None for nothing."""
    for key in OF_LISTS:
        if (value := getattr(source, key)) is not None:
            return (
                f"{name}.{key} is {show(value)}, and only sources in a list under pool have {key}: "
                + ("put the source into a list" if name == "pool" else "leave it out")
            )
    return None


def mixture_fault(sources: Sequence[SourceOptions]) -> str | None:
    """What is wrong with the sources of a pool together; None for nothing."""
    names = [source_name(source) for source in sources]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"pool has two sources called {twice[0]}: give each a name of its own by source"
    given = [[key for key in AMOUNTS if getattr(source, key) is not None] for source in sources]
    for name, keys in zip(names, given, strict=True):
        if len(keys) > 1:
            return f"pool, source {name}, has {' and '.join(keys)}: give one of them"
    kinds = {key for keys in given for key in keys}
    others = [name for name, keys in zip(names, given, strict=True) if keys in ([], ["rows"])]
    if "weight" in kinds and others:
        return (
            f"pool: weight divides what shares leave, and {others[0]} has neither: give it a "
            "weight, or give the others share instead"
        )
    return _shares_fault(sources, bool(others), "weight" in kinds)


def _shares_fault(sources: Sequence[SourceOptions], others: bool, weights: bool) -> str | None:
    shares = [source.share for source in sources if source.share is not None]
    total = math.fsum(shares)
    full = math.isclose(total, 1)
    if total > 1 and not full:
        return f"the shares of pool sum to {total:g}, more than the pool: make them sum to 1"
    if full and (others or weights):
        return (
            "the shares of pool sum to 1, and leave nothing for the sources without one: "
            "make them sum to less, or give every source a share"
        )
    if shares and not full and not others and not weights:
        return (
            f"the shares of pool sum to {total:g}, and no other source fills the rest: make "
            "them sum to 1, or give weight instead, which is relative"
        )
    return None
