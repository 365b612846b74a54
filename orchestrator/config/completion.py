"""A base that its sweep completes: what every trial is given need not stand in the base, too.

What a combination comes to, and what is wrong with it, is told by `trials.expand` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, product
from typing import Any

from pydantic import ValidationError

from orchestrator.config.overlay import replaced
from orchestrator.config.sweep import Sweep

TRIED = 100  # combinations, of which a base takes the settings of the first that fit it


def completions(study: Any) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """The study with those settings of a combination of its sweep whose keys it lacks.

    Args:
        study: as it was written. Of one without a sound sweep there is none.

    Yields:
        Distinct ones, each with the names of the sections that it completes.
    """
    try:
        sweep = Sweep.model_validate(study.get("sweep", {}))
    except (AttributeError, ValidationError):
        return
    axes = [[{key: value} for value in sweep.values(key, 0)] for key in sweep.parameters]
    tried: set[str] = set()
    for choice in islice(product(*axes, *sweep.paired), TRIED):
        tree, sections = study, set[str]()
        for key, value in chain(*(part.items() for part in choice)):
            path = key.split(".")
            if key != "label" and _lacks(tree, path):
                tree, sections = replaced(tree, path, value), {*sections, path[0]}
        if sections and repr(tree) not in tried:
            tried.add(repr(tree))
            yield tree, sections


def _lacks(tree: Any, path: list[str]) -> bool:
    """Whether a key is not there, and there is room for it."""
    for part in path:
        if not isinstance(tree, dict):
            return False
        if part not in tree:
            return True
        tree = tree[part]
    return False
