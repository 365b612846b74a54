"""From the axes of a sweep to its combinations of settings, before anything is validated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from orchestrator.config.arrangement import Arrangement, foreign_options, keys_read
from orchestrator.config.faults import show, unknown_key
from orchestrator.config.schema import Study, TrialConfig
from orchestrator.config.strict_yaml import MAX_DEPTH
from orchestrator.config.sweep import MAX_TRIALS, Sweep
from orchestrator.core.arrangements import method_names

Setting = dict[str, Any]  # dotted key -> value; may hold `label`, a part of the trial's name
Choice = tuple[Setting, ...]  # one setting of each axis


def combinations(sweep: Sweep) -> tuple[Iterator[Choice], list[str]]:
    """All combinations, and what is wrong with the keys; keys that cannot be swept are left out.

    The order is that of the file, the last axis varies fastest, the samples slowest.
    """
    axes = _axes(sweep, 0)
    count = sweep.samples * math.prod(len(axis) for axis in axes)
    refused = {
        key: fault for axis in axes for part in axis for key in part if (fault := _refusal(key))
    }
    if "label" in sweep.parameters:
        refused["label"] = "label is not a key: labels belong to the settings of paired"
    for setting in itertools.chain(*sweep.paired):
        if not isinstance(setting.get("label", ""), str):
            refused["label"] = f"label is {show(setting['label'])}: give text in quotes"
    faults = [f"sweep: {fault}" for fault in [*refused.values(), *_twice_set(axes)]]
    if count > MAX_TRIALS:
        faults.append(f"sweep: {count:,} trials are more than {MAX_TRIALS:,}: shorten an axis")
        return iter(()), faults
    chosen = (
        choice
        for sample in range(sweep.samples)
        for choice in itertools.product(*_axes(sweep, sample))
    )
    return (
        tuple({key: part[key] for key in part if key not in refused} for part in choice)
        for choice in chosen
    ), faults


def kept_settings(choice: Choice) -> Setting:
    """The settings of a combination that its method reads, without labels."""
    left_out = unread_keys(choice)
    return {key: value for key, value in all_settings(choice).items() if not _under(key, left_out)}


def all_settings(choice: Choice) -> Setting:
    """The settings of a combination as written, without labels."""
    return {key: value for setting in choice for key, value in setting.items() if key != "label"}


def unread_keys(choice: Choice) -> set[str]:
    """Keys left out because the sweep, not the base, chooses a method that does not read them, or
    an arm that stands for them.

    They were written for the other trials of the sweep. Those that stand beside the method or the
    arm in the same setting were not, and stay: validation refuses them.
    """
    unread: set[str] = set()
    for setting in choice:
        beside = {".".join(key.split(".")[:2]) for key in setting}
        method = setting.get("arrangement.method")
        if isinstance(method, str) and method in method_names():
            keys = set(Arrangement.model_fields) - keys_read(method)
            unread |= {f"arrangement.{key}" for key in keys} - beside
            if "arrangement.options" not in beside:
                unread |= {f"arrangement.options.{option}" for option in foreign_options(method)}
        if setting.get("arrangement.arm") is not None:
            unread |= {"arrangement.selection", "arrangement.order"} - beside
    return unread


def _axes(sweep: Sweep, sample: int) -> list[list[Setting]]:
    """The settings of each axis in one of the sweep's samples."""
    drawn = [[{key: value} for value in sweep.values(key, sample)] for key in sweep.parameters]
    return drawn + sweep.paired


def _refusal(key: str) -> str | None:
    """Why a key cannot be swept, as far as its first part and its length tell."""
    allowed, head = list(TrialConfig.model_fields), key.split(".", maxsplit=1)[0]
    if key == "label":
        return None
    if key.count(".") >= MAX_DEPTH:
        return f"{key[:60]}... is not a key: none has so many parts"
    if head in allowed:
        return None
    if head in Study.model_fields:
        return f"{key} is not part of a trial: sweep {', '.join(allowed)}"
    return f"{key} is not a key: {unknown_key(head, allowed)}"


def _twice_set(axes: list[list[Setting]]) -> list[str]:
    """Keys whose value two settings of one trial would give: the later one would win unseen."""
    keys = [{key: None for part in axis for key in part if key != "label"} for axis in axes]
    across = [
        f"{a} is set by two axes: keep one"
        if a == b
        else f"{a} and {b} are set by two axes: put them into one axis or one list of paired"
        for one, other in itertools.combinations(keys, 2)
        for a, b in itertools.product(one, other)
        if _under(a, {b}) or _under(b, {a})
    ]
    inside = [
        f"{a} and {b} are set together: keep one"
        for part in itertools.chain(*axes)
        for a, b in itertools.combinations(part, 2)
        if _under(a, {b}) or _under(b, {a})
    ]
    return list(dict.fromkeys(across + inside))


def _under(key: str, others: set[str]) -> bool:
    """Is the key one of the others, or inside one of them?"""
    return any(f"{key}.".startswith(f"{other}.") for other in others)
