"""The estimate on the screen: the trials of a study, what they share, and what all of it costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.errors import ResourceError
from orchestrator.estimate.amounts import Amount, TrialAmounts, added, trial_amounts
from orchestrator.estimate.disk import bytes_in_words, study_disk
from orchestrator.estimate.earlier import Earlier
from orchestrator.estimate.hours import (
    HOUR,
    Time,
    hours_line,
    left_out_lines,
    money_line,
    trial_time,
)
from orchestrator.estimate.memory import optimizer_faults, rank_memory, reward_parameters
from orchestrator.estimate.shared import Part, shared_parts
from orchestrator.estimate.stored import StoreLookup
from orchestrator.estimate.trial_table import setting_lines, text_table, trial_table
from orchestrator.estimate.twins import foreseen_twins, twin_lines
from orchestrator.screen import print_text
from orchestrator.training.templates import check_template, load_tokenizer
from orchestrator.trials import Expansion, Trial, expansion

LARGE_SHARE = 0.25  # of a trial's time that is evaluation


@dataclass(frozen=True)
class Known:
    """What is known of a study before it runs.

    Attributes:
        store: what is there, and what is read because it is small.
        done: names of the trials that need no more training.
        gpu: whose speed is reckoned with, as `speed_of`.
        price: of a GPU hour; None: money is not told.
    """

    store: StoreLookup
    done: frozenset[str] = frozenset()
    gpu: str | None = None
    price: float | None = None


def print_estimate(study: Study, console: Console, known: Known) -> None:
    """Show a study before anything runs; nothing is fetched, and nothing written into its folders.

    Raises:
        ConfigError: as `expansion`.
        ModelError: as `check_template`, of a model that is there.
        ResourceError: an optimizer that does not count so many weights.
    """
    expanded, store = expansion(study), known.store
    earlier = Earlier(Layout.of(study).output, known.gpu)
    if faults := optimizer_faults((trial.config for trial in expanded.trials), store):
        raise ResourceError("\n".join(faults))
    remarks = _templates(expanded.trials, store)
    amounts = [trial_amounts(trial.config, store) for trial in expanded.trials]
    times = [
        trial_time(study, trial.config, amount, store, earlier, known.gpu)
        for trial, amount in zip(expanded.trials, amounts, strict=True)
    ]
    shares = [
        time.evaluating / time.seconds if time else amount.evaluating
        for time, amount in zip(times, amounts, strict=True)
    ]
    remarks += _evaluating(shares)
    twins = {} if study.sweep.search else foreseen_twins(expanded.trials, store)
    remarks += twin_lines(expanded.trials, twins)
    parts = shared_parts(study, expanded.trials, store, earlier)
    takes = [
        "done" if trial.name in known.done
        else "twin" if trial.name in twins
        else time
        for trial, time in zip(expanded.trials, times, strict=True)
    ]  # fmt: skip
    table, common = trial_table(expanded.trials, amounts, shares, takes)
    console.print(table)
    for line in common:
        print_text(console, escape(line))
    console.print()
    console.print(_shared(parts))
    console.print()
    alone = [trial.name not in twins for trial in expanded.trials]
    trained = [*compress(amounts, alone)]
    for line in _totals(study, expanded, amounts, trained, store):
        print_text(console, escape(line))
    timed = [*compress(zip(expanded.trials, times, strict=True), alone)]
    lines = [*_hours(study, timed, parts, known), *left_out_lines(study, expanded.trials)]
    for line in [*lines, *remarks]:
        print_text(console, escape(line))
    if study.sweep.search:
        chooses = f"{study.sweep.search.type} chooses by {study.sweep.search.metric}"
        print_text(console, f"search  {chooses}: the values above are examples")


def _templates(trials: list[Trial], store: StoreLookup) -> list[str]:
    """What is odd about the chat templates of models that are there."""
    lines = []
    for model in dict.fromkeys(trial.config.model.reference for trial in trials):
        folder = store.model(model)
        chats = any(
            trial.config.model.reference == model and trial.config.model.template == "chat"
            for trial in trials
        )
        # Other templates need no library that takes seconds to import.
        if chats and folder and (odd := check_template("chat", load_tokenizer(folder))):
            lines.append(f"note    {model}: {odd}")
    return lines


def _evaluating(shares: list[float | None]) -> list[str]:
    """What makes evaluation shorter, where it takes much."""
    share = max(share or 0.0 for share in shares)
    if share < LARGE_SHARE:
        return []
    return [
        f"note    evaluation is up to {share:.0%} of a trial's time: evaluation.sample, "
        "evaluation.every and evaluation.generate.max_items make it less"
    ]


def _shared(parts: list[Part]) -> Table:
    table = text_table("shared", "of", "state")
    for part in parts:
        table.add_row(part.name, escape(part.of), part.state)
    return table


def _hours(
    study: Study, trials: list[tuple[Trial, Time | None]], parts: list[Part], known: Known
) -> list[str]:
    """Lines on what is done, the hours that are left, and their price.

    Args:
        trials: that are trained, each with its time.
    """
    left = [(trial.config, time) for trial, time in trials if trial.name not in known.done]
    done = len(trials) - len(left)
    shared = sum(part.seconds or 0.0 for part in parts)
    lines = [f"done    {done:,} of {len(trials):,} trials"] if done else []
    lines.append(f"hours   {hours_line(study, [time for _, time in left], shared)}")
    if known.price is not None:
        shared_hours = sum((part.seconds or 0.0) * part.gpus for part in parts) / HOUR
        lines.append(f"money   {money_line(left, shared_hours, known.price)}")
    return lines


def _totals(
    study: Study,
    expanded: Expansion,
    amounts: list[TrialAmounts],
    trained: list[TrialAmounts],
    store: StoreLookup,
) -> list[str]:
    """Lines on the whole study: trials, arms, steps, tokens, disk, and the memory of each model.

    Args:
        amounts: of each trial; `trained`: of those that are no twins.
    """
    trials = expanded.trials
    count = f"{len(trials):,} trial{'s' * (len(trials) > 1)}"
    arms = dict.fromkeys(trial.arm for trial in trials)
    return [
        count + (f"; {expanded.left_out}" if expanded.left_out else ""),
        f"arms    {', '.join(arms)}",
        *setting_lines(study.sweep),
        f"steps   {_total([amount.steps for amount in trained])}",
        f"tokens  {_total([amount.tokens for amount in trained])}",
        f"disk    {_disk(study_disk(study, trials, amounts, store))}",
        *_memory(trials, store),
    ]


def _total(amounts: list[Amount | None]) -> str:
    known, unknown = added(amounts)
    if known is None:
        return "unknown until the data is read"
    return str(known) + (f", and {unknown} trials of unknown size" if unknown else "")


def _disk(parts: dict[str, list[Amount | None]]) -> str:
    words = [
        f"{part} {bytes_in_words(sizes)}"
        for part, sizes in parts.items()
        if any(size is None or size.count for size in sizes)
    ]
    whole = bytes_in_words([size for sizes in parts.values() for size in sizes])
    return f"{whole} ({', '.join(words)})"


def _memory(trials: list[Trial], store: StoreLookup) -> list[str]:
    lines: dict[str, None] = {}
    for config in (trial.config for trial in trials):
        name, memory = config.model.reference, rank_memory(config, store)
        known = store.model(name) is not None
        why = "not known for its architecture" if known else "unknown until the model is fetched"
        unread = memory is not None and reward_parameters(config, store) is None
        scoring = config.evaluation.generate.reward_model
        more = f", and more for {scoring}, unknown until it is fetched" if unread else ""
        lines[f"memory  {name}: {memory or why}{more}"] = None
    return list(lines)
