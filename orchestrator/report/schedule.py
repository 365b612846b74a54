"""Does the order of arms survive a constant learning rate? The answer to a claim of schedules.

Under a schedule that decays, rows that come early are learned at a higher rate than those that come
late: an order then also decides how much of the summed learning rate near rows get, and its gain
may be that alone (as for curricula in pretraining, arXiv 2511.18903). At a constant rate only the
timing is left. So the first and the last arm of the claim are compared under each schedule, and the
two gaps with one another, paired over tasks and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.config.training import Training
from orchestrator.core.statistics.analysis import Steps, TaskCurves
from orchestrator.core.statistics.comparison import Comparison, Verdict, compare_arms
from orchestrator.report.arms import Arm, common_basis, mean_curves, stack, unit_of
from orchestrator.report.contrast import Contrast, curves_at, set_contrasts, trial_pairs
from orchestrator.report.figures import SETS
from orchestrator.report.findings import Finding
from orchestrator.report.sentences import (
    area_words,
    left_out_note,
    limit_sentences,
    set_note,
    timing_sentence,
)
from orchestrator.report.tables import doubt, interval, number, signed
from orchestrator.report.trial import Trial

CONSTANT = "constant"
CHANGES: dict[Verdict, str] = {"ahead": "clearly more ahead", "behind": "clearly less ahead"}


@dataclass(frozen=True)
class ScheduleGap:
    """The first arm of a claim against the last, under one schedule.

    Attributes:
        schedule: `training.schedule` of both.
        ends: the two arms.
        sets: title of a test set -> the two compared on it; the query set is among them.
    """

    schedule: str
    ends: tuple[Arm, Arm]
    sets: dict[str, Contrast]

    @property
    def query(self) -> Contrast:
        """The two arms on the query set."""
        return self.sets[SETS["query"]]

    @property
    def early_rate(self) -> float | None:
        """Part of the summed learning rate that the first half of the steps carries, of 1.

        By the rates that the trials noted, as the mean over them; None where they noted none.
        """
        trials = [trial for arm in self.ends for trial in arm.trials]
        parts = [part for trial in trials if (part := _early_rate(trial)) is not None]
        return float(np.mean(parts)) if parts else None


@dataclass(frozen=True)
class ScheduleAnswer:
    """What the report says to a claim of schedules.

    Attributes:
        finding: the sentences.
        gap: that under a constant rate, for the tables; None where the question stays open.
    """

    finding: Finding
    gap: ScheduleGap | None = field(default=None)


def schedule_answer(names: Sequence[str], arms: list[Arm]) -> ScheduleAnswer:
    """Is the first arm ahead of the last at a constant rate, too?

    "Yes": clearly ahead there. "No": clearly behind, or ahead under a schedule that decays, not so
    at a constant rate, and clearly less ahead there.

    Args:
        names: the claim's arms, those of a schedule in the order that it expects.
        arms: of the study.
    """
    ends = _ends(names, arms)
    unfinished = [arm.name for pair in ends.values() for arm in pair if not arm.finished]
    missing = [f"No trial finished of: {', '.join(unfinished)}."] if unfinished else []
    basis = common_basis([arm for pair in ends.values() for arm in pair])
    comparable = {arm.name: arm for arm in basis.arms} if basis else {}
    gaps = {}
    for schedule, (first, last) in ends.items():
        if basis and {first.name, last.name} <= comparable.keys():
            pair = comparable[first.name], comparable[last.name]
            sets = set_contrasts(*pair, basis.steps)
            if SETS["query"] in sets:
                gaps[schedule] = ScheduleGap(schedule, pair, sets)
    constant, others = gaps.pop(CONSTANT, None), list(gaps.values())
    if basis is None or constant is None or not others:
        why = "the first and the last arm did not both finish, on common seeds, steps and tasks, "
        sentence = f"This study does not say: {why}under a constant rate and another schedule."
        return ScheduleAnswer(Finding(sentence, [], missing))
    changes = [_changes(constant, other, basis.steps) for other in others]
    query = constant.query
    details = [
        *(_change_sentence(other, found) for other, found in zip(others, changes, strict=True)),
        *_set_sentences([constant, *others]),
        *_rate_sentence([*others, constant]),
        *_means_sentence(arms),
        timing_sentence(query),
    ]
    caveats = [
        *set_note(trial_pairs(*constant.ends)),
        *limit_sentences(query.by_area, unit_of(constant.ends[0].trials)),
        *left_out_note(basis.left_out),
        *missing,
    ]
    clearly_less = [
        other.query.by_area.verdict == "ahead" and found["query"].verdict == "behind"
        for other, found in zip(others, changes, strict=True)
    ]
    sentence = _verdict(constant, others, lost=any(clearly_less))
    return ScheduleAnswer(Finding(sentence, details, caveats), constant)


def _ends(names: Sequence[str], arms: list[Arm]) -> dict[str, tuple[Arm, Arm]]:
    """The first and the last arm of the claim under each schedule that has two or more."""
    by_name, chains = {arm.name: arm for arm in arms}, dict[str, list[Arm]]()
    for name in names:
        if name in by_name:
            chains.setdefault(_schedule(by_name[name]), []).append(by_name[name])
    return {key: (chain[0], chain[-1]) for key, chain in chains.items() if len(chain) > 1}


def _schedule(arm: Arm) -> str:
    training = arm.trials[0].config.get("training", {})
    return str(training.get("schedule", Training.model_fields["schedule"].default))


def _early_rate(trial: Trial) -> float | None:
    log = trial.tables.get("train_log")
    if log is None or "lr" not in log.column_names or not len(log):
        return None
    rates = log.sort_by("step")["lr"].to_numpy()
    half = len(rates) // 2
    early = rates[:half].sum() + len(rates) % 2 * rates[half] / 2  # half of the middle step
    return float(early / rates.sum())


def _changes(constant: ScheduleGap, other: ScheduleGap, steps: Steps) -> dict[str, Comparison]:
    """The gap under a constant rate minus the other, by area, on each test set that has both."""
    found = {}
    for test_set in SETS:
        four = [_by_seed(arm, test_set) for arm in (*constant.ends, *other.ends)]
        seeds = [seed for seed in four[0] if all(seed in curves for curves in four)]
        stacked = stack([curves_at(curves[seed], steps) for seed in seeds for curves in four])
        if stacked is not None:
            shared, _, losses = stacked
            a, b, c, d = (losses[at::4] for at in range(4))
            found[test_set] = compare_arms(shared, a - b, c - d)[1]
    return found


def _by_seed(arm: Arm, test_set: str) -> dict[tuple[str, ...], TaskCurves]:
    """The curves of each seed of an arm."""
    trials: dict[tuple[str, ...], list[Trial]] = {}
    for trial in arm.trials:
        trials.setdefault(trial.seed, []).append(trial)
    means = {
        seed: mean_curves([trial.task_losses(test_set) for trial in of_seed])
        for seed, of_seed in trials.items()
    }
    return {seed: curves for seed, curves in means.items() if curves is not None}


def _verdict(constant: ScheduleGap, others: list[ScheduleGap], *, lost: bool) -> str:
    query = constant.query
    result, a, b = query.by_area, query.a_name, query.b_name
    by_area = f"by the {area_words(query.a.steps, query.whole)}"
    beside = "; ".join(f"under {other.schedule} {_gap_words(other.query)}" for other in others)
    if result.verdict == "ahead":
        also = "also " if any(o.query.by_area.verdict == "ahead" for o in others) else ""
        return (
            f"Yes: {by_area}, {a} was ahead of {b} by {number(-result.difference)} (95% interval "
            f"{number(-result.high)} to {number(-result.low)}) {also}under a constant rate; "
            f"{beside}."
        )
    head = (
        "No" if result.verdict == "behind" or lost else f"Not clear ({doubt(result, query.unit)})"
    )
    return f"{head}: {by_area}, under a constant rate {_gap_words(query)}; {beside}."


def _gap_words(contrast: Contrast) -> str:
    result = contrast.by_area
    return (
        f"{contrast.a_name} minus {contrast.b_name} is {signed(result.difference)} "
        f"(95% interval {interval(result)})"
    )


def _change_sentence(other: ScheduleGap, changes: dict[str, Comparison]) -> str:
    """How the gap under a constant rate differs from that under another schedule."""
    parts = []
    for key, change in changes.items():
        why = doubt(change, unit_of(other.ends[0].trials, key))
        verdict = f"no clear difference, {why}" if why else CHANGES[change.verdict]
        parts.append(
            f"on the {SETS[key].lower()} {signed(change.difference)} (95% interval "
            f"{interval(change)}: {verdict})"
        )
    return (
        f"The gap under a constant rate minus that under {other.schedule}, paired over "
        f"{other.query.unit}s and seeds: {', '.join(parts)}."
    )


def _set_sentences(gaps: list[ScheduleGap]) -> list[str]:
    """The gaps on the held-out set, where it was measured; the query set's are in the answer."""
    title = SETS["held_out"]
    parts = [
        f"under {gap.schedule} {_gap_words(gap.sets[title])}" for gap in gaps if title in gap.sets
    ]
    return [f"On the {title.lower()}: {'; '.join(parts)}."] if parts else []


def _rate_sentence(gaps: list[ScheduleGap]) -> list[str]:
    """What of the summed learning rate goes to the rows that come first, under each schedule."""
    parts = [
        f"{rate:.0%} under {gap.schedule}" for gap in gaps if (rate := gap.early_rate) is not None
    ]
    if not parts:
        return []
    return [f"Of the summed learning rate the first half of the steps carries {', '.join(parts)}."]


def _means_sentence(arms: list[Arm]) -> list[str]:
    """All arms of each schedule by their means, those that the claim does not name among them."""
    if (basis := common_basis(arms)) is None:
        return []
    by_schedule: dict[str, list[Arm]] = {}
    for arm in sorted(basis.arms, key=lambda arm: basis.areas[arm.name]):
        by_schedule.setdefault(_schedule(arm), []).append(arm)
    parts = [
        f"under {schedule} {', '.join(f'{arm.name} {number(basis.areas[arm.name])}' for arm in of)}"
        for schedule, of in by_schedule.items()
    ]
    return [f"Means by area, the lowest first: {'; '.join(parts)}."]
