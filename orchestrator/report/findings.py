"""Answers to claims that order no arms, from the numbers of their sections.

Claims 1, 2, 3 and 8 of arXiv 2406.11721. The paper gives no threshold: what counts as "Yes" stands
at each function. Not for the order of arms, which `answer` looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scipy.stats import binomtest

from orchestrator.core.measures import MEASURES
from orchestrator.report.arms import Arm, unit_of
from orchestrator.report.early import EARLY, EarlyDrop, early_drops
from orchestrator.report.measures import Correlation, correlations
from orchestrator.report.prediction import prediction
from orchestrator.report.sentences import limit_sentences
from orchestrator.report.sudden import TrialDrops, sudden_drops
from orchestrator.report.tables import by_chance, doubt, interval, number, p_words, signed
from orchestrator.report.trial import distinct

NEAREST = "cosine_min"
LEVEL = 0.05  # of p


@dataclass(frozen=True)
class Finding:
    """What a section says to the study's claim.

    Attributes:
        sentence: the answer.
        details: what it is made of, a sentence each, where that is more than one thing.
        caveats: what limits it, a sentence each.
    """

    sentence: str
    details: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """What one arm, trial or prediction says: half a sentence, and whether it is a "Yes"."""

    words: str
    holds: bool


def section_finding(kind: str, arms: list[Arm]) -> Finding:
    """The answer to a claim of a kind other than `order`, from the finished arms."""
    finding = {
        "early": early_finding,
        "drops": drop_finding,
        "measures": measure_finding,
        "prediction": prediction_finding,
    }[kind]
    return finding([arm for arm in arms if arm.finished])


def early_finding(arms: list[Arm]) -> Finding:
    """Claim 1. "Yes": by a tenth of training an arm has clearly made more than half of its drop."""
    drops = early_drops(arms)
    parts = [Part(_early_words(drop), _is_early(drop)) for drop in drops]
    caveats = []
    for drop in (drop for drop in drops if drop.fell):
        caveats += limit_sentences(drop.past_half, unit_of(drop.arm.trials))
        if drop.step > 2 * EARLY * drop.last:
            part = f"{drop.step / drop.last:.0%}"
            caveats.append(f"The first evaluation of {drop.arm.name} is {part} into training.")
    nothing = "no arm was evaluated between step 0 and the end"
    return _finding(parts, "arms", nothing, caveats)


def _is_early(drop: EarlyDrop) -> bool:
    return drop.fell and drop.past_half.verdict == "ahead"


def _early_words(drop: EarlyDrop) -> str:
    if not drop.fell:
        why = doubt(drop.fall, unit_of(drop.arm.trials)) or "it rose"
        return f"the loss of {drop.arm.name} did not clearly fall ({why})"
    return (
        f"{drop.arm.name} made {drop.share:.0%} of its drop (95% interval {drop.low:.0%} to "
        f"{drop.high:.0%}) by step {drop.step:,} of {drop.last:,}, 90% by step "
        f"{drop.step_to_90:,}"
    )


def drop_finding(arms: list[Arm]) -> Finding:
    """Claim 2. "Yes": sudden drops come with the task's nearest rows more often than by chance.

    Of the trials in task blocks, where there are any. The interval is Wilson's, of the share of
    drops; p is that of the section's permutations.
    """
    trials = distinct(trial for arm in arms for trial in arm.trials)
    blocks = [trial for trial in trials if trial.arrangement.get("method") == "cluster"]
    rows = sudden_drops(blocks or trials)
    if not rows:
        return _finding([], "trials", "no loss dropped suddenly")
    if not any(row.obstacle or row.drops for row in rows):
        return Finding("No: no task’s loss dropped suddenly.")
    parts = [
        Part(_drop_words(row), row.coincidence.p_value < LEVEL)
        for row in rows
        if row.coincidence is not None
    ]
    states = dict.fromkeys(row.obstacle or str(len(row.drops)) for row in rows)
    return _finding(parts, "trials", f"sudden drops: {', '.join(states)}")


def _drop_words(row: TrialDrops) -> str:
    chance = row.coincidence
    assert chance is not None, "only drops that came nearer have words"
    share = binomtest(chance.matched, chance.drops).proportion_ci(method="wilson")
    return (
        f"in {row.trial.name} {chance.matched} of {chance.drops} sudden drops, "
        f"{chance.matched / chance.drops:.0%} (95% interval {share.low:.0%} to {share.high:.0%}), "
        f"came with the task’s nearest rows, against {by_chance(chance.by_chance)} by chance "
        f"({p_words(chance.p_value)})"
    )


def measure_finding(arms: list[Arm]) -> Finding:
    """Claim 3. "Yes": tasks nearer by the nearest pair clearly drop more, and by no mean so much.

    By the section's rank correlations and their intervals.
    """
    rows = [row for row in correlations(arms) if NEAREST in row.rho]
    parts = [Part(_measure_words(row), _is_nearest(row)) for row in rows]
    return _finding(parts, "arms", "no arm has losses and measures of enough tasks")


def _others(row: Correlation) -> dict[str, float]:
    """rho of the measures that are not of the nearest pair."""
    return {
        name: row.rho[name] for name in MEASURES if name in row.rho and not name.endswith("_min")
    }


def _is_nearest(row: Correlation) -> bool:
    rho = row.rho[NEAREST]
    return row.interval(NEAREST)[1] < 0 and rho <= min(_others(row).values(), default=rho)


def _measure_words(row: Correlation) -> str:
    low, high = row.interval(NEAREST)
    words = (
        f"in {row.arm} the rank correlation of {NEAREST} with the drop of the loss is "
        f"{signed(row.rho[NEAREST])} (95% interval {signed(low)} to {signed(high)}, "
        f"{row.tasks} tasks)"
    )
    others = _others(row)
    if not others:
        return words
    closest = min(others, key=others.__getitem__)
    return f"{words}; of the others {closest} goes furthest with it, {signed(others[closest])}"


def prediction_finding(arms: list[Arm]) -> Finding:
    """Claim 8. "Yes": left-out tasks and every left-out arm are foretold better with distance."""
    predicted = prediction(arms)
    parts = [
        Part(
            f"leaving out {left_out}, the error by distance is {number(forecast.error)} against "
            f"{number(forecast.naive_error)} of the naive guess, "
            f"{signed(forecast.comparison.difference)} (95% interval "
            f"{interval(forecast.comparison)})",
            forecast.comparison.verdict == "ahead",
        )
        for left_out, forecast in (predicted.forecasts.items() if predicted else ())
    ]
    return _finding(parts, "predictions", "no arm has losses and measures of enough tasks")


def _finding(
    parts: list[Part], unit: str, nothing: str, caveats: list[str] | None = None
) -> Finding:
    """One answer of all parts: "Yes" where all of them hold, "In part" where some do.

    Args:
        unit: what the parts are of, in the plural.
        nothing: why there is no part.
    """
    if not parts:
        return Finding(f"This study does not say: {nothing}.")
    holds = sum(part.holds for part in parts)
    head = "Yes" if holds == len(parts) else "In part" if holds else "Not clearly"
    caveats = list(dict.fromkeys(caveats or []))
    if len(parts) == 1:
        return Finding(f"{head}: {parts[0].words}.", [], caveats)
    details = [f"Also {part.words}." for part in parts[1:]]
    count = f"{holds} of {len(parts)} {unit}"
    return Finding(f"{head}, in {count}: {parts[0].words}.", details, caveats)
