"""A partial study laid over another one: a machine, a model or a budget, kept in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.config.faults import show
from orchestrator.config.strict_yaml import KeyPath

Origins = dict[KeyPath, str]  # where each key was written
# A mapping that names one of these says what the value is: a data set, a hold-out, an adapter, a
# scheduler. Keys of another kind would mean nothing beside its own.
WHOLE = ("reader", "from", "type")


def laid_over(
    base: dict[str, Any], origins: Origins, over: dict[str, Any], over_origins: Origins
) -> tuple[dict[str, Any], Origins]:
    """The study with an overlay on it, and where its keys were written.

    Mappings merge key by key. A list, a scalar, a mapping that names `reader`, `from` or `type`,
    and an axis of the sweep take the place of the whole value.
    """
    places = dict(origins)
    return _merged(base, over, (), places, over_origins), places


def replaced(tree: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """The tree with one key set; mappings on the way are created, the argument is left as it is.

    Raises:
        ValueError: something on the way is not a mapping.
    """
    head, *rest = path
    if not rest:
        return {**tree, head: value}
    child = tree.get(head, {})
    if not isinstance(child, dict):
        raise ValueError(f"{head} is {show(child)}, which has no key {rest[0]}")
    return {**tree, head: replaced(child, rest, value)}


def _merged(
    base: dict[str, Any],
    over: dict[str, Any],
    path: KeyPath,
    places: Origins,
    over_origins: Origins,
) -> dict[str, Any]:
    """The two mappings at a path; `places` follows."""
    result = dict(base)
    for key, value in over.items():
        here = (*path, key)
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _is_whole(value, here):
            result[key] = _merged(old, value, here, places, over_origins)
            places[here] = over_origins[here]
            continue
        result[key] = value
        for place in [known for known in places if known[: len(here)] == here]:
            del places[place]
        places |= {
            place: origin for place, origin in over_origins.items() if place[: len(here)] == here
        }
    return result


def _is_whole(value: dict[str, Any], path: KeyPath) -> bool:
    return any(key in value for key in WHOLE) or (
        len(path) == 3 and path[:2] == ("sweep", "parameters")
    )
