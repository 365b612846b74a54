"""The settings of the arms: what all of them share, once, and what tells them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.report.arms import Arm
from orchestrator.report.tables import MISSING, Cell, Table, short_hash
from orchestrator.report.trial import Trial

# What a reviewer asks for first, in this order, and what the page calls it.
LABELS = {
    "model.name": "model",
    "model revision": "model revision",
    "model.adapter": "adapter",
    "arithmetic": "arithmetic",
    "model.template": "template",
    "model.max_length": "tokens of a row at most",
    "training.global_batch": "rows of a batch",
    "training.learning_rate": "learning rate",
    "training.schedule": "schedule of the learning rate",
    "training.warmup_steps": "warm-up steps",
    "training.optimizer": "optimizer",
    "training.weight_decay": "weight decay",
    "training.loss": "loss",
    "training.epochs": "passes over the data",
    "steps": "optimizer steps",
    "rows": "rows trained on",
    "arrangement.method": "method",
    "arrangement.granularity": "unit",
    "arrangement.selection": "selection",
    "arrangement.order": "order",
    "arrangement.turns": "turns",
    "arrangement.rows": "budget in rows",
    "embedding.model": "embedded by",
    "embedding.pooling": "pooling",
    "embedding.text": "text embedded",
    "data.pool.max_per_task": "rows of a task at most",
    "data.pool.seed": "seed of the pool",
    "seed": "seed",
}


@dataclass(frozen=True)
class SettingTables:
    """The settings of a study's arms.

    Attributes:
        common: what all arms share, of what is asked for first, by its name.
        differing: an arm a row, a column for each setting in which they differ; None where they
            differ in none.
        others: all other settings that the arms share, by their keys in the study file.
    """

    common: dict[str, str]
    differing: Table | None
    others: dict[str, str]


def setting_tables(arms: list[Arm], run: dict[str, Any]) -> SettingTables:
    """The tables of all arms whose trials left a configuration.

    Args:
        run: run.json, which knows the revisions of models.
    """
    known = {arm: _texts(arm, run) for arm in arms}
    known = {arm: texts for arm, texts in known.items() if texts}
    keys = list(dict.fromkeys([*LABELS, *(key for texts in known.values() for key in texts)]))
    values = {key: [texts.get(key, MISSING) for texts in known.values()] for key in keys}
    differ = [key for key in keys if len(set(values[key])) > 1]
    shared = {key: of_arms[0] for key, of_arms in values.items() if key not in differ and of_arms}
    shared = {key: text for key, text in shared.items() if text != MISSING}
    differing = Table(
        ["arm", *(LABELS.get(key, key) for key in differ)],
        [
            [Cell(arm.label), *(Cell(texts.get(key, MISSING), "wrapped") for key in differ)]
            for arm, texts in known.items()
        ],
    )
    return SettingTables(
        {LABELS[key]: text for key, text in shared.items() if key in LABELS},
        differing if differ else None,
        {key: text for key, text in shared.items() if key not in LABELS},
    )


def _texts(arm: Arm, run: dict[str, Any]) -> dict[str, str]:
    """Each setting of an arm in words; of trials that differ, as in their seeds, all values."""
    found: dict[str, list[str]] = {}
    for trial in arm.trials:
        if trial.config:
            for key, text in (*_flat(trial.config), *_measured(trial, run)):
                texts = found.setdefault(key, [])
                if text not in texts:
                    texts.append(text)
    return {key: "; ".join(texts) for key, texts in found.items()}


def _measured(trial: Trial, run: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a trial's configuration leaves open, as it came out."""
    yield "arithmetic", trial.summary.get("precision") or MISSING
    yield "steps", trial.summary.get("steps") or MISSING
    yield "rows", MISSING if trial.rows_fed is None else f"{trial.rows_fed:,}"
    name = str(trial.config.get("model", {}).get("name"))
    for reference, entry in run.get("models", {}).items():
        if reference.split("@")[0] == name and isinstance(entry, dict):
            digest = entry.get("revision") or f"SHA-256 {short_hash(entry['fingerprint'])}"
            yield "model revision", digest


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and values in words; a list is one value."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _words(value)


def _words(value: Any) -> str:
    match value:
        case None | {} | []:
            return MISSING
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list():
            return ", ".join(map(_words, value))
        case dict():
            return ", ".join(f"{key} {_words(entry)}" for key, entry in value.items())
    return str(value)
