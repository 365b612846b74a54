"""Answers to claims that order no arms, from what the tables of their sections say.

Claims 1, 2, 3 and 8 of arXiv 2406.11721. The paper gives no threshold: what counts as "Yes" stands
at each function. Not for the order of arms, which `claim` answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import binomtest, norm

from orchestrator.core.measures import MEASURES
from orchestrator.core.statistics.analysis import steps_to_fraction
from orchestrator.core.statistics.comparison import compare_arms, compare_with_start
from orchestrator.report.answer import limits
from orchestrator.report.arms import Arm, stack, unit_of
from orchestrator.report.measures import correlation_table
from orchestrator.report.prediction import predict
from orchestrator.report.sudden import sudden_drops
from orchestrator.report.tables import Table
from orchestrator.report.text import MINUS, MISSING, signed

EARLY = 0.1  # of training
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


def find(kind: str, arms: list[Arm]) -> Finding:
    """The answer to a claim of a kind other than `order`, from the finished arms."""
    finders = {
        "early": early_finding,
        "drops": drop_finding,
        "measures": measure_finding,
        "prediction": prediction_finding,
    }
    return finders[kind]([arm for arm in arms if arm.finished])


def early_finding(arms: list[Arm]) -> Finding:
    """Claim 1. "Yes": by a tenth of training an arm has clearly made more than half of its drop.

    The loss at the first evaluation from there on is compared with the midpoint of the losses at
    step 0 and at the end. The interval is that of this difference, in parts of the mean drop.
    """
    parts, verdicts, caveats = [], [], []
    for arm in arms:
        curves = [trial.task_losses("query") for trial in arm.trials]
        stacked = stack([curve for curve in curves if curve is not None])
        if stacked is None or len(stacked[0]) < 3:
            continue
        steps, _, losses = stacked
        if compare_with_start(losses).verdict != "ahead":
            parts.append(f"the loss of {arm.name} did not clearly fall")
            verdicts.append(False)
            continue
        at = int(np.searchsorted(steps, EARLY * steps[-1]))
        half = (losses[:, :1] + losses[:, -1:]) / 2
        found = compare_arms(np.zeros(1, np.int64), losses[:, at : at + 1], half)[1]
        mean = losses.mean(axis=(0, 2))
        gaps = np.array([found.difference, found.high, found.low])
        share, low, high = 0.5 - gaps / (mean[0] - mean[-1])
        parts.append(
            f"{arm.name} made {share:.0%} of its drop (95% interval {low:.0%} to {high:.0%}) by "
            f"step {steps[at]:,} of {steps[-1]:,}, 90% by step {steps_to_fraction(steps, mean):,}"
        )
        verdicts.append(found.verdict == "ahead")
        caveats += limits(found, unit_of(arm.trials))
        if steps[at] > 2 * EARLY * steps[-1]:
            part = steps[at] / steps[-1]
            caveats.append(f"The first evaluation of {arm.name} is {part:.0%} into training.")
    nothing = "no arm was evaluated between step 0 and the end"
    return _joined(parts, verdicts, "arms", nothing, caveats)


def drop_finding(arms: list[Arm]) -> Finding:
    """Claim 2. "Yes": sudden drops come with the task's nearest rows more often than by chance.

    Of the trials in task blocks, where there are any. The interval is Wilson's, of the share of
    drops; p is that of the section's permutations.
    """
    trials = [trial for arm in arms for trial in arm.trials]
    blocks = [
        trial for trial in trials if trial.config.get("arrangement", {}).get("method") == "cluster"
    ]
    found = sudden_drops(blocks or trials)
    rows = _rows(found.matches) if found else []
    parts, verdicts = [], []
    for row in rows:
        if row["p"] == MISSING:
            continue
        matched, drops = int(row["in the same interval"]), int(row["with near rows"])
        share = binomtest(matched, drops).proportion_ci(method="wilson")
        parts.append(
            f"in {row['trial']} {matched} of {drops} sudden drops, {matched / drops:.0%} (95% "
            f"interval {share.low:.0%} to {share.high:.0%}), came with the task’s nearest rows, "
            f"against {row['by chance']} by chance (p = {row['p']})"
        )
        verdicts.append(float(row["p"]) < LEVEL)
    told = [row["sudden drops"] for row in rows]
    if told and set(told) <= {"0"}:
        return Finding("No: no task’s loss dropped suddenly.")
    nothing = f"sudden drops: {', '.join(dict.fromkeys(told))}"
    return _joined(parts, verdicts, "trials", nothing if told else "no loss dropped suddenly")


def measure_finding(arms: list[Arm]) -> Finding:
    """Claim 3. "Yes": tasks nearer by the nearest pair clearly drop more, and by no mean so much.

    By the section's rank correlations. The T tasks are what is independent: the interval is
    Fisher's, with the variance of ranks, 1.06 / (T - 3) (Fieller, Hartley and Pearson 1957).
    """
    parts, verdicts = [], []
    table = correlation_table(arms)
    for row in _rows(table) if table else []:
        if row[NEAREST] == MISSING:
            continue
        rho, tasks = _value(row[NEAREST]), int(row["tasks"])
        spread = norm.ppf(0.975) * (1.06 / (tasks - 3)) ** 0.5
        low, high = np.tanh(np.arctanh(np.clip(rho, -0.999, 0.999)) + np.array([-spread, spread]))
        others = {
            name: _value(row[name])
            for name in MEASURES
            if not name.endswith("_min") and row[name] != MISSING
        }
        closest = min(others, key=others.__getitem__, default=NEAREST)
        beside = (
            f"; of the others {closest} goes furthest with it, {row[closest]}" if others else ""
        )
        parts.append(
            f"in {row['arm']} the rank correlation of {NEAREST} with the drop of the loss is "
            f"{row[NEAREST]} (95% interval {signed(low)} to {signed(high)}, {tasks} tasks){beside}"
        )
        verdicts.append(bool(high < 0 and rho <= min(others.values(), default=rho)))
    return _joined(parts, verdicts, "arms", "no arm has losses and measures of enough tasks")


def prediction_finding(arms: list[Arm]) -> Finding:
    """Claim 8. "Yes": left-out tasks and every left-out arm are foretold better with distance."""
    found = predict(arms)
    rows = _rows(found.forecasts) if found else []
    parts = [
        f"leaving out {row['left out']}, the error by distance is {row['by distance']} against "
        f"{row['naive guess']} of the naive guess, {row['difference']} (95% interval "
        f"{row['95% interval']})"
        for row in rows
    ]
    better = [row["distance"] == "better" for row in rows]
    nothing = "no arm has losses and measures of enough tasks"
    return _joined(parts, better, "predictions", nothing)


def _joined(
    parts: list[str],
    verdicts: list[bool],
    unit: str,
    nothing: str,
    caveats: list[str] | None = None,
) -> Finding:
    """One answer of all parts: "Yes" where all of them say so, "In part" where some do."""
    if not parts:
        return Finding(f"This study does not say: {nothing}.")
    head = "Yes" if all(verdicts) else "In part" if any(verdicts) else "Not clearly"
    caveats = list(dict.fromkeys(caveats or []))
    if len(parts) == 1:
        return Finding(f"{head}: {parts[0]}.", [], caveats)
    details = [f"Also {part}." for part in parts[1:]]
    count = f"{sum(verdicts)} of {len(parts)} {unit}"
    return Finding(f"{head}, in {count}: {parts[0]}.", details, caveats)


def _rows(table: Table) -> list[dict[str, str]]:
    texts = ([cell.text for cell in row] for row in table.rows)
    return [dict(zip(table.headers, row, strict=True)) for row in texts]


def _value(text: str) -> float:
    return float(text.replace(MINUS, "-"))
