"""The trials of a study on the screen, before they run: what differs in a table, the rest once."""

from __future__ import annotations

from rich.table import Table

from orchestrator.config.faults import show
from orchestrator.estimate.amounts import TrialAmounts
from orchestrator.estimate.hours import Time
from orchestrator.trials import Trial, untold


def text_table(*names: str) -> Table:
    """Columns of words, the last of which wraps."""
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
        amounts, shares, takes: of each trial, its share of evaluation and its time or why it takes
            none.
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
    common = {name: values[0] for name, values in texts.items() if len(set(values)) == 1}
    if len(trials) == 1:
        common = {}
    table = text_table("trial")
    apart = [name for name in texts if name not in common]
    for name in apart:
        table.add_column(name, justify="right", no_wrap=True)
    for place, trial in enumerate(trials):
        table.add_row(trial.name, *(texts[name][place] for name in apart))
    said = ", ".join(f"{name} {text}" for name, text in common.items())
    return table, [f"each    {said}"] if common else []


def arm_lines(trials: list[Trial]) -> list[str]:
    """The arms, with the settings for which a label stands."""
    untold_by = {trial.arm: untold(trial.settings, trial.name) for trial in reversed(trials)}
    arms = [
        arm + ": " * bool(hidden) + ", ".join(
            f"{key}={value if isinstance(value, str) else show(value)}"
            for key, value in hidden.items()
        )
        for arm, hidden in reversed(untold_by.items())
    ]  # fmt: skip
    if not any(untold_by.values()):
        return [f"arms    {', '.join(arms)}"]
    return [f"{'arms' if place == 0 else '':<7} {arm}" for place, arm in enumerate(arms)]
