"""From a study to its trials: every combination that the sweep asks for, each validated and named.

A setting replaces a whole value of the base configuration, before validation.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchestrator.config.claim import Claim
from orchestrator.config.faults import explain, show
from orchestrator.config.overlay import replaced
from orchestrator.config.schema import Study, TrialConfig
from orchestrator.config.sweep import Condition
from orchestrator.errors import ConfigError
from orchestrator.trials.axes import (
    Choice,
    Setting,
    all_settings,
    combinations,
    kept_settings,
    unread_keys,
)
from orchestrator.trials.constraints import constraint_faults, holds
from orchestrator.trials.faults import study_faults
from orchestrator.trials.names import arm_names, trial_stem
from orchestrator.trials.proxy import proxies, unchanged

# What changes speed or the report, but no plan, batch or loss: not part of a trial's identity.
WITHOUT_EFFECT: Any = {
    "data": {"near_duplicate"},
    "embedding": {"batch_tokens", "workers", "gpus_per_worker"},
    "neighbours": True,
    "model": {"cache"},
    "evaluation": {"measures", "benchmarks"},
    "training": {"checkpoint", "node_labels", "hang_timeout"},
}


# Keys that came after trials were trained: they are part of an identity once they are set, so that
# no trial of before becomes another one.
ADDED = {
    "model": ("revision",),
    "training": ("epochs", "reorder"),
    "evaluation": ("max_length",),
}


@dataclass(frozen=True)
class Trial:
    """One configuration that a study runs, with its name and what the sweep set in it.

    Attributes:
        name: folder name, unique in the study: a slug and 8 hexadecimal digits of `key`.
        config: the full configuration.
        settings: dotted key -> value, as far as the sweep set it.
        key: SHA-256 of what determines the result, defaults included; settings of the study
            around it (study, output, store, remote_store, tracking, sweep) and those that change
            speed or the report alone leave it as it is.
        arm: what the trial is compared as; trials that differ in seeds alone share it.
        merged: how many later combinations came to this same configuration and were left out.
    """

    name: str
    config: TrialConfig
    settings: dict[str, Any]
    key: str
    arm: str
    merged: int = 0


@dataclass(frozen=True)
class Expansion:
    """The trials of a study.

    Attributes:
        trials: in the order of the file, the last axis fastest.
        dropped: each constraint as written -> the combinations that it left out.
    """

    trials: list[Trial]
    dropped: dict[str, int]

    @property
    def left_out(self) -> str:
        """Says in a few words what became of the combinations that are no trials; "" of none."""
        merged = sum(trial.merged for trial in self.trials)
        words = [f"{merged:,} identical ones merged"] if merged else []
        # Also those that drop nothing: perhaps they were meant to.
        words += [f"{count:,} dropped by {text}" for text, count in self.dropped.items()]
        return ", ".join(words)


def expand(study: Study) -> list[Trial]:
    """Returns the trials of a study, which are those of its `expansion`."""
    return expansion(study).trials


def expansion(study: Study) -> Expansion:
    """All combinations of `sweep`, each validated, without those that a constraint drops.

    Combinations that come to the same configuration are one trial. Without axes there is one
    trial, the base.

    Raises:
        ConfigError: every fault of every combination; combinations with the same fault share a
            sentence that names the first of them. Then those of the study of its proxy.
    """
    choices, faults = combinations(study.sweep)
    faults += constraint_faults(study.sweep)
    collection = TrialCollection(study)
    for choice in choices:
        collection.add(choice)
    faults += [_together(sentence, where) for sentence, where in collection.broken.items()]
    expanded = collection.expansion
    if not faults and not expanded.trials:
        faults = [
            f"sweep.constraints drop all {sum(expanded.dropped.values()):,} combinations: loosen "
            f"{' or '.join(text for text, count in expanded.dropped.items() if count)}"
        ]
    if not faults:
        configs = [trial.config for trial in expanded.trials]
        swept = {key for trial in expanded.trials for key in trial.settings}
        faults = study_faults(study, configs, [trial.arm for trial in expanded.trials], swept)
    if not faults:
        faults = _proxy_faults(study)
    if faults:
        raise ConfigError(faults)
    return expanded


def _proxy_faults(study: Study) -> list[str]:
    """What is wrong with the study of its proxy, and that it is the study itself."""
    try:
        cheaper = {trial.key for proxy in proxies(study) for trial in expand(proxy)}
    except ConfigError as error:
        return [
            f"forecast.proxy: {fault.removeprefix('forecast.proxy: ')}" for fault in error.faults
        ]
    if not cheaper or cheaper.isdisjoint(trial.key for trial in expand(unchanged(study))):
        return []
    return [
        "forecast.proxy trains a trial as the study does, so that it is no forecast but the "
        "outcome: give it a smaller model, fewer rows or a lower learning_rate"
    ]


class TrialCollection:
    """The trials of a study as their combinations come, one at a time.

    Attributes:
        broken: what is wrong with combinations, in a sentence -> those that it is true of.
    """

    def __init__(self, study: Study) -> None:
        # Only what the user wrote: a default is not a choice that may clash with another one.
        self._base = study.model_dump(exclude_unset=True, include=set(TrialConfig.model_fields))
        self._claim = study.claim
        self._constraints = study.sweep.constraints
        self._trials: dict[str, tuple[Choice, TrialConfig]] = {}  # by the trial's key
        self._merged: Counter[str] = Counter()
        self._dropped = {_shown(constraint): 0 for constraint in self._constraints}
        self.broken: dict[str, list[str]] = {}

    def add(self, choice: Choice) -> str | None:
        """The key of a combination's trial, new or not; None if it comes to none."""
        written, config, sentences = _configure(self._base, choice)
        dropping = (c for c in self._constraints if holds(c, written, config))
        if (constraint := next(dropping, None)) is not None:
            self._dropped[_shown(constraint)] += 1
        elif config is None:
            for sentence in sentences:
                self.broken.setdefault(sentence, []).append(_written(choice))
        else:
            config = _with_claimed_steps(config, self._claim)
            key = trial_key(config)
            self._merged[key] += key in self._trials
            self._trials.setdefault(key, (choice, config))
            return key
        return None

    @property
    def expansion(self) -> Expansion:
        """The trials in the order in which they came, and what became of other combinations."""
        return Expansion(_named(self._trials, self._merged), dict(self._dropped))


def _named(
    distinct: dict[str, tuple[Choice, TrialConfig]], merged: Mapping[str, int]
) -> list[Trial]:
    choices = [choice for choice, _ in distinct.values()]
    methods = [config.arrangement.method for _, config in distinct.values()]
    arms = arm_names(choices, methods)
    trials = [
        Trial(
            name=f"{trial_stem(choice) or config.arrangement.method}-{key[:8]}",
            config=config,
            settings=kept_settings(choice),
            key=key,
            arm=arm,
            merged=merged[key],
        )
        for (key, (choice, config)), arm in zip(distinct.items(), arms, strict=True)
    ]
    assert len({trial.name for trial in trials}) == len(trials), "two trials, one folder"
    return trials


def _configure(
    base: dict[str, Any], choice: Choice
) -> tuple[dict[str, Any], TrialConfig | None, list[str]]:
    """What a combination says as a tree, its validated configuration, and its faults."""
    raw = base
    if unread := unread_keys(choice):
        section = base.get("arrangement", {})
        kept = {key: value for key, value in section.items() if f"arrangement.{key}" not in unread}
        if "options" in kept:
            kept["options"] = {
                option: value
                for option, value in kept["options"].items()
                if f"arrangement.options.{option}" not in unread
            }
        raw = {**base, "arrangement": kept}
    settings = kept_settings(choice)
    raw, faults = _set(raw, settings)
    unread_settings = {
        key: value for key, value in all_settings(choice).items() if key not in settings
    }
    written, _ = _set(raw, unread_settings)
    try:
        config = TrialConfig.model_validate(raw)
    except ValidationError as error:
        return written, None, faults + [sentence for _, sentence in explain(error, TrialConfig)]
    return written, (None if faults else config), faults


def _set(tree: dict[str, Any], settings: Setting) -> tuple[dict[str, Any], list[str]]:
    """The tree with the settings that fit it, and what is wrong with the others."""
    faults = []
    for key, value in settings.items():
        try:
            tree = replaced(tree, key.split("."), value)
        except ValueError as error:
            faults.append(f"{key} cannot be set: {error}")
    return tree, faults


def _with_claimed_steps(config: TrialConfig, claim: Claim | None) -> TrialConfig:
    """The configuration with all items measured at the steps of the claim's figures, too."""
    if config.evaluation.sample is None or claim is None:
        return config
    claimed = {figure.step for figure in claim.figures if figure.step is not None}
    whole = sorted(claimed.union(config.evaluation.whole))
    evaluation = config.evaluation.model_copy(update={"whole": whole})
    return config.model_copy(update={"evaluation": evaluation})


def trial_key(config: TrialConfig) -> str:
    """The `key` of the trial with this configuration."""
    kept = config.model_dump(mode="json", exclude=WITHOUT_EFFECT)
    for name, keys in ADDED.items():
        section = getattr(config, name)
        for key in keys:
            if getattr(section, key) == type(section).model_fields[key].default:
                del kept[name][key]
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _shown(constraint: Mapping[str, Any]) -> str:
    values = {
        key: value.model_dump() if isinstance(value, Condition) else value
        for key, value in constraint.items()
    }
    return "{" + ", ".join(f"{key}: {show(value)}" for key, value in values.items()) + "}"


def _written(choice: Choice) -> str:
    return ", ".join(f"{key}: {show(value)}" for part in choice for key, value in part.items())


def _together(sentence: str, where: list[str]) -> str:
    more = f" (and in {len(where) - 1:,} more trials)" if len(where) > 1 else ""
    return f"sweep: in the trial with {where[0]}{more}: {sentence}"
