"""How much a trial trains on, as far as its configuration and the stored data tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from orchestrator.config import TrialConfig
from orchestrator.config.arrangement import Arrangement
from orchestrator.config.evaluation import scheduled_steps
from orchestrator.core.order import rows_fed, step_count
from orchestrator.estimate.evaluating import (
    answered_items,
    evaluation_share,
    measured_items,
    set_sizes,
)
from orchestrator.estimate.small import mean_tokens
from orchestrator.estimate.stored import StoreLookup
from orchestrator.storage.artifacts import Artifact
from orchestrator.training.tokens import load

Mark = Literal["", "~", "<="]
MARKS: tuple[Mark, ...] = ("", "~", "<=")  # exact, about, at most


@dataclass(frozen=True)
class Amount:
    """A number and how well it is known."""

    count: int
    mark: Mark = ""

    def __str__(self) -> str:
        return f"{self.mark}{self.count:,}"


@dataclass(frozen=True)
class TrialAmounts:
    """What one trial trains on; None is unknown until the data is read.

    Attributes:
        rows: of the plan, over all passes.
        trained: rows that are put through the model; fewer than the plan has under `max_steps`.
        steps: optimizer steps.
        evaluations: of all test sets, step 0 and the last among them.
        tokens: of the trained rows, prompts and answers.
        measured: items of all test sets whose losses are measured, over all evaluations.
        untouched: those of them that are measured at step 0.
        answered: items that are answered, over all the times that the trial does.
        evaluating: share of the computing that is evaluation, in [0, 1].
    """

    rows: Amount | None
    trained: Amount | None
    steps: Amount | None
    evaluations: Amount | None
    tokens: Amount | None
    measured: Amount | None
    untouched: int
    answered: int
    evaluating: float | None


def trial_amounts(config: TrialConfig, store: StoreLookup) -> TrialAmounts:
    """Count what a trial trains on."""
    dataset, table = store.dataset(config.data), store.tokens(config)
    split = dataset.info["splits"]["pool"] if dataset else None
    pool = split["instances"] if split else None
    longest, about = config.test_length or config.model.max_length, None
    if dataset is not None and table is None:
        about = mean_tokens(dataset.path)
        longest = min(longest, about)
    sets = set_sizes(dataset, store.test_tokens(config), longest) if dataset else []
    training = config.training
    batch, limit, epochs = training.global_batch, training.max_steps, training.epochs
    answer_length = None
    if config.arrangement.answer_tokens is not None and table is not None and pool is not None:
        answer_length = _answer_length(table.path, pool)
    tasks = split["tasks"] if split else None
    rows = planned_rows(config.arrangement, pool, tasks, store.listed(config), answer_length)
    rows = rows and Amount(rows.count * epochs, rows.mark)
    steps = trained = evaluations = measured = share = None
    untouched, answered = sum(part.items for part in sets), 0
    if rows is not None:
        steps = Amount(step_count(rows.count, batch, limit, epochs), rows.mark)
        trained = Amount(int(rows_fed(steps.count, rows.count, batch, epochs)), rows.mark)
    elif limit is not None:
        steps, trained = Amount(limit, "<="), Amount(limit * batch, "<=")
    tokens = trained and _tokens(trained, config, table, pool, about)
    if steps is not None:
        at = scheduled_steps(config.evaluation.every, steps.count)
        evaluations = Amount(len(at), steps.mark)
        items = [measured_items(config.evaluation, sets, step, steps.count) for step in at]
        measured = Amount(sum(items), steps.mark) if sets else None
        answered = answered_items(config.evaluation, sets, steps.count)
    if steps and tokens and sets:
        share = evaluation_share(config, sets, steps.count, tokens.count)
    return TrialAmounts(
        rows, trained, steps, evaluations, tokens, measured, untouched, answered, share
    )


def planned_rows(
    arrangement: Arrangement,
    pool: int | None,
    tasks: int | None = None,
    listed: int | None = None,
    answer_length: float | None = None,
) -> Amount | None:
    """Returns how many rows an arrangement will have, once; None where that is not known.

    Args:
        pool: instances; None where they are not known.
        tasks: of the pool; None likewise.
        listed: ids in the file that the arrangement takes its order from; None without one.
        answer_length: mean tokens of an answer of the pool; None where that is not known.
    """
    if arrangement.per_task is not None:
        if pool is None or tasks is None:
            return None
        each = arrangement.per_task if arrangement.cut else 2 * arrangement.per_task - 1
        return Amount(min(pool, each * tasks), "<=")
    by_turns = arrangement.turns is not None or arrangement.turn_window is not None
    most = [count for count in (arrangement.rows, listed, pool) if count is not None]
    if not most or (arrangement.rows is None and by_turns and pool is None):
        return None
    if arrangement.answer_tokens is not None and not by_turns:
        if answer_length is None:
            return None
        return Amount(min(round(arrangement.answer_tokens / answer_length), *most), "~")
    mark: Mark = "<=" if by_turns else "" if arrangement.cut or not arrangement.rows else "~"
    return Amount(min(most), mark)


def added(amounts: Iterable[Amount | None]) -> tuple[Amount | None, int]:
    """The sum of what is known, as well as the least known of it, and how many are not."""
    listed = list(amounts)
    known = [amount for amount in listed if amount is not None]
    if not known:
        return None, len(listed)
    mark = MARKS[max(MARKS.index(amount.mark) for amount in known)]
    return Amount(sum(amount.count for amount in known), mark), len(listed) - len(known)


@cache  # trials share it
def _answer_length(table: Path, pool: int) -> float:
    """Mean tokens of an answer of the pool, whose rows come first in a token table."""
    answers = load(table)
    return float(answers.answer[: answers.starts[pool]].sum() / pool)


def _tokens(
    trained: Amount,
    config: TrialConfig,
    table: Artifact | None,
    pool: int | None,
    about: int | None,
) -> Amount:
    """Tokens of the trained rows: by the mean of the pool, its characters, or at most what fits.

    Args:
        about: tokens of a row, by characters; None where the table or no text is there.
    """
    longest = config.model.max_length
    if about is not None:
        return Amount(trained.count * min(about, longest), trained.mark or "~")
    if table is None or pool is None:
        return Amount(trained.count * longest, "<=")
    starts = np.load(table.path / "starts.npy", mmap_mode="r", allow_pickle=False)
    tokens = int(starts[pool])  # the pool's rows come first
    if trained == Amount(pool * config.training.epochs):
        return Amount(tokens * config.training.epochs)
    return Amount(round(trained.count * tokens / pool), trained.mark or "~")
