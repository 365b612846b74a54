"""The trials of a study on the screen, before they run: what differs in a table, the rest once."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from rich.table import Table

from orchestrator.config.faults import show
from orchestrator.config.sweep import Sweep
from orchestrator.estimate.amounts import TrialAmounts
from orchestrator.estimate.hours import Time
from orchestrator.trials import Trial


def text_table(*names: str) -> Table:
    """Columns of words, which wrap where there is no room."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def trial_table(
    trials: list[Trial],
    amounts: list[TrialAmounts],
    shares: list[float | None],
    takes: list[Time | str | None],
) -> tuple[Table, list[str]]:
    """What each trial takes, and a line on what all of them have in common, which has no column:
    at 80 columns there is room for a name and a few numbers.

    Args:
        amounts, shares, takes: of each trial, its share of evaluation and its time, or in a word
            why it takes none.
    """
    columns: dict[str, list[object]] = {
        "rows": [amount.rows for amount in amounts],
        "steps": [amount.steps for amount in amounts],
        "evaluations": [amount.evaluations for amount in amounts],
        "evaluating": [None if share is None else f"~{share:.0%}" for share in shares],
        "tokens": [amount.tokens for amount in amounts],
        "time": list(takes),
        "workers": [trial.config.training.workers for trial in trials],
    }
    texts = {
        name: ["?" if value is None else str(value) for value in values]
        for name, values in columns.items()
    }
    apart = [name for name, values in texts.items() if len(trials) == 1 or len(set(values)) > 1]
    table = text_table("trial")
    for name in apart:
        table.add_column(name, justify="right", no_wrap=True)
    for place, trial in enumerate(trials):
        table.add_row(trial.name, *(texts[name][place] for name in apart))
    said = "; ".join(f"{name} {values[0]}" for name, values in texts.items() if name not in apart)
    return table, [f"each    {said}"] if said else []


def setting_lines(sweep: Sweep) -> list[str]:
    """The arms' labels with the settings that they stand for, and the keys of all other settings,
    of which a name has the last part alone."""
    settings = [*chain(*sweep.paired), *({key: None} for key in sweep.parameters)]
    labels = [
        f"{setting['label']}: {_in_words(setting)}" for setting in settings if "label" in setting
    ]
    keys = dict.fromkeys(key for setting in settings if "label" not in setting for key in setting)
    lines = [f"{'labels' if place == 0 else '':<7} {label}" for place, label in enumerate(labels)]
    return [*lines, *([f"swept   {', '.join(keys)}"] if keys else [])]


def _in_words(setting: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value if isinstance(value, str) else show(value)}"
        for key, value in setting.items()
        if key != "label"
    )
