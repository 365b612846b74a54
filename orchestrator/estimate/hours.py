"""How long trials will take, and what that costs: by the pace of earlier ones, else by arithmetic.

By arithmetic a trained token costs 6 operations a weight, with an adapter 4 (`evaluating`); what
recomputing, communication and waiting take is in the stated part of a device's speed (`speed`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.config import Study, TrialConfig
from orchestrator.estimate.amounts import MARKS, Mark, TrialAmounts
from orchestrator.estimate.earlier import Earlier
from orchestrator.estimate.evaluating import token_cost
from orchestrator.estimate.memory import trained_sizes
from orchestrator.estimate.speed import speed_of
from orchestrator.estimate.stored import StoreLookup
from orchestrator.screen import duration
from orchestrator.trials import Trial
from orchestrator.trials.proxy import proxies
from orchestrator.trials.time_left import time_left

HOUR = 3600.0
# The parameters that a model's name tells, as in Llama-2-7b and smollm2-135m.
SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Time:
    """How long a trial will take.

    Attributes:
        seconds: from its start to its end.
        evaluating: those of them that are evaluation.
        mark: how well it is known, as of an `Amount`; never exactly.
        by: how it is known, in words.
    """

    seconds: float
    evaluating: float
    mark: Mark
    by: str

    def __str__(self) -> str:
        return f"{self.mark}{duration(self.seconds)}"


def trial_time(
    study: Study,
    config: TrialConfig,
    amounts: TrialAmounts,
    store: StoreLookup,
    earlier: Earlier,
    gpu: str | None,
) -> Time | None:
    """How long a trial will take; None where too little is known.

    Args:
        study: it is of.
        gpu: as `speed_of`.
    """
    if amounts.tokens is None:
        return None
    mark = amounts.tokens.mark or "~"
    if pace := earlier.pace(config, study.sweep.max_concurrent):
        training = amounts.tokens.count * pace.token
        share = amounts.evaluating or 0.0
        evaluating = training * share / (1 - share)
        measured = (amounts.measured.count if amounts.measured else 0) - amounts.untouched
        if pace.item is not None and (pace.answer is not None or not amounts.answered):
            evaluating = measured * pace.item + amounts.answered * (pace.answer or 0.0)
        by = f"the pace of {pace.trials} earlier trials that computed alike"
        return Time(pace.start + training + evaluating, evaluating, mark, by)
    sizes = trained_sizes(config, store)
    weights = sizes.parameters if sizes else named_parameters(config.model.reference)
    speed = speed_of(study, config, gpu) if weights else None
    if speed is None or weights is None:
        return None
    by = speed.words if sizes else f"{speed.words}, the weights counted by the model's name"
    training = token_cost(config) * weights * amounts.tokens.count / speed.operations
    share = amounts.evaluating or 0.0
    return Time(training / (1 - share), training * share / (1 - share), mark, by)


def named_parameters(model: str) -> float | None:
    """The parameters that the name of a model tells; None where it tells none."""
    found = SIZE.search(model.rpartition("/")[2])
    return found and float(found[1]) * (1e9 if found[2].lower() == "b" else 1e6)


def hours_line(study: Study, times: Iterable[Time | None], shared: float) -> str:
    """The hours of the trials that are left, in a sentence.

    Args:
        study: with the trials that run at once.
        times: of the trials that are left.
        shared: seconds that what they share takes before, as far as they are known.
    """
    listed = list(times)
    known = [time for time in listed if time]
    if not listed:
        return "none: all trials are done"
    if not known:
        return (
            "unknown: they need the tokens of the data, the size of the model, and earlier trials "
            "or a GPU whose speed is known (--gpu H100)"
        )
    whole = sum(time.seconds for time in known)
    at_once = min(study.sweep.max_concurrent, len(known))
    mark = MARKS[max(MARKS.index(time.mark) for time in known)]
    ends = mark + duration(time_left([time.seconds for time in known], at_once) + shared)
    evaluating = sum(time.evaluating for time in known) / whole
    more = f", and {len(listed) - len(known)} of unknown time" * (len(known) < len(listed))
    before = f" with ~{duration(shared)} before the first" * (shared >= 1)
    abreast = f", {at_once} at once" * (at_once > 1)
    by = "; ".join(dict.fromkeys(time.by for time in known))
    trials = f"{len(known)} trial{'s' * (len(known) > 1)}"
    return (
        f"{ends} for {trials}{abreast}{before}{more}; {evaluating:.0%} of it is evaluation; by {by}"
    )


def left_out_lines(study: Study, trials: Iterable[Trial]) -> list[str]:
    """What the hours and the money leave out of a study, in a line; none where it is nothing."""
    parts = []
    if any(trial.config.evaluation.benchmarks for trial in trials):
        parts.append("the benchmarks (evaluation.benchmarks)")
    if proxies(study):
        parts.append("the cheaper study that the forecaster proxy trains")
    return [f"        not in it: {' and '.join(parts)}"] if parts else []


def money_line(
    spent: Iterable[tuple[TrialConfig, Time | None]], shared: float, price: float
) -> str:
    """What the trials that are left cost, in a sentence.

    Args:
        spent: their configurations and times.
        shared: GPU hours of what they share.
        price: of a GPU hour.
    """
    pairs = list(spent)
    gpus = [c.training.workers * c.training.gpus_per_worker for c, _ in pairs]
    if not (any(gpus) or shared):
        return "none: no GPU is asked for (training.gpus_per_worker is 0)"
    known = [(time, count) for (_, time), count in zip(pairs, gpus, strict=True) if time]
    if len(known) < len(pairs):
        return "unknown, as the hours are"
    hours = shared + sum(time.seconds * count for time, count in known) / HOUR
    return f"~{hours * price:,.2f} for {hours:,.2f} GPU hours at {price:g} each"
