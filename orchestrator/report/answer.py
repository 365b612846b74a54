"""The question of a study and its answer in a sentence, where the study file states no claim."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.schema import TrialConfig
from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.comparison import FEWEST_TASKS, Comparison
from orchestrator.report.arms import (
    Arm,
    area,
    area_words,
    common_ground,
    group_arms,
    left_out_note,
    mean_curves,
    unit_of,
)
from orchestrator.report.contrast import Contrast, contrast, contrast_arms
from orchestrator.report.figures import SETS
from orchestrator.report.read import Trial
from orchestrator.report.text import interval, number, signed


@dataclass(frozen=True)
class Answer:
    """What the top of the page says.

    Attributes:
        question, sentence: one sentence each.
        details: what else the headline needs, a sentence each.
        caveats: what limits the answer, a sentence each.
        contrast: the two arms compared; None when no two comparable ones finished.
        neighbours: of a claim, each arm against the next in the expected order.
        sets: title of a test set -> the two arms compared on it.
    """

    question: str
    sentence: str
    caveats: list[str]
    contrast: Contrast | None
    details: list[str] = field(default_factory=list)
    neighbours: list[Contrast] = field(default_factory=list)
    sets: dict[str, Contrast] = field(default_factory=dict)


def answer_question(trials: list[Trial]) -> Answer:
    """Did nearest-first beat farthest-first; without such arms, which arm was best?"""
    pairs = order_pairs(trials)
    return _answer_order(pairs) if pairs else answer_best(group_arms(trials))


def verdict_sentence(found: Contrast, yes: str = "Yes") -> str:
    """Was arm A ahead by the area under the curve? If so, the sentence begins with `yes`."""
    result, a, b = found.by_area, found.a_name, found.b_name
    by_area = f"by the {area_words(found.a.steps, found.whole)}"
    ahead_on = f"ahead on {result.tasks_ahead} of {result.tasks} {found.unit}s"
    if result.verdict == "no clear difference":
        return (
            f"No clear difference: {by_area}, {a} minus {b} is "
            f"{signed(result.difference)} (95% interval {interval(result)}), with {a} {ahead_on}."
        )
    head, sign = (yes, -1) if result.verdict == "ahead" else ("No", 1)
    low, high = sorted((sign * result.low, sign * result.high))
    return (
        f"{head}: {by_area}, {a} was {result.verdict} {'of ' if sign < 0 else ''}{b} by "
        f"{number(sign * result.difference)} (95% interval {number(low)} to {number(high)}), "
        f"{ahead_on}."
    )


def timing_sentence(found: Contrast) -> str:
    """Half-way and the end, which may differ: once arms have seen the same data they converge."""

    def state(result: Comparison) -> str:
        clear = "" if result.verdict != "no clear difference" else ", not clear"
        return f"{signed(result.difference)} ({interval(result)}{clear})"

    end = "the end" if found.whole else "the last common step"
    parts = [f"at {end} (step {found.end:,}) {state(found.by_step[found.end])}"]
    if found.half_way is not None:
        half = state(found.by_step[found.half_way])
        parts.insert(0, f"half-way (step {found.half_way:,}) {half}")
    return f"{found.a_name} minus {found.b_name}: {', '.join(parts)}."


def set_note(pairs: list[tuple[Trial, Trial]]) -> list[str]:
    """Whether the two sides trained on the same instances."""
    sets = [(a.summary["set_sha256"], b.summary["set_sha256"]) for a, b in pairs]
    if all(a and a == b for a, b in sets):
        return ["Both arms trained on the same instances; they differ in the order alone."]
    if all(a and b for a, b in sets):
        return ["The arms did not train on the same instances: order is not all that differs."]
    return []


def limits(result: Comparison, unit: str) -> list[str]:
    """What the interval covers and what it does not; the unit is "task" or "instance"."""
    if result.seeds == 1:
        limits = [
            f"One seed on {result.tasks} {unit}s says little: the interval covers the choice of "
            f"{unit}s, not what another seed would change."
        ]
    else:
        limits = [
            f"{result.seeds} seeds on {result.tasks} {unit}s: the interval covers the choice of "
            f"{unit}s and of seeds."
        ]
        if result.low <= 0 <= result.high and not result.low_tasks <= 0 <= result.high_tasks:
            limits.append(
                f"Over {unit}s alone, with these {result.seeds} seeds, it is "
                f"{signed(result.low_tasks)} to {signed(result.high_tasks)}: more seeds would tell "
                "whether that holds of others."
            )
    if result.tasks < FEWEST_TASKS:
        limits.append(f"With fewer than {FEWEST_TASKS} {unit}s no difference is called clear.")
    return limits


def order_pairs(trials: list[Trial]) -> list[tuple[Trial, Trial]]:
    """Nearest-first and farthest-first trials of `method: tma` that differ in the order alone."""
    arms: dict[str, dict[str, Trial]] = {}
    for trial in trials:
        arrangement = {**Arrangement().model_dump(), **trial.config.get("arrangement", {})}
        if not trial.config or arrangement["method"] != "tma":
            continue
        order = arrangement.pop("order")
        config = {key: trial.config.get(key) for key in TrialConfig.model_fields}
        rest = json.dumps({**config, "arrangement": arrangement}, sort_keys=True)
        arms.setdefault(rest, {}).setdefault(order, trial)
    wanted = {"nearest_first", "farthest_first"}
    return [
        (arm["nearest_first"], arm["farthest_first"])
        for arm in arms.values()
        if wanted <= arm.keys()
    ]


def over_sets(compare: Callable[[str], Contrast | None]) -> dict[str, Contrast]:
    """A comparison of two arms on each test set that both were measured on, by its title."""
    found = {title: compare(key) for key, title in SETS.items()}
    return {title: result for title, result in found.items() if result is not None}


Pair = tuple[Trial, Trial]
PairCurves = dict[Pair, tuple[TaskCurves, TaskCurves]]


def _answer_order(pairs: list[Pair]) -> Answer:
    question = "Did nearest-first beat farthest-first?"
    complete = _complete(pairs, "query")
    caveats = [
        f"Left out: {near.label} against {far.label}, because not both finished with a query loss."
        for near, far in pairs
        if (near, far) not in complete
    ]
    if not complete:
        sentence = "This study does not say: no nearest-first trial and its farthest-first "
        return Answer(question, f"{sentence}counterpart both finished.", caveats, None)

    sets = over_sets(
        lambda key: contrast(
            "nearest-first",
            "farthest-first",
            _by_seed(_complete(pairs, key)),
            unit=unit_of(chain.from_iterable(pairs), key),
        )
    )
    found = sets.get(SETS["query"])
    if found is None:
        unit = unit_of(chain.from_iterable(pairs))
        sentence = f"This study does not say: its pairs of trials share no query {unit}."
        return Answer(question, sentence, caveats, None)
    named = ", ".join(
        f"{near.name} with {far.name} ({signed(area(a.steps, a.losses) - area(b.steps, b.losses))})"
        for (near, far), (a, b) in complete.items()
    )
    caveats = [
        f"Trials compared (difference by area): {named}.",
        *set_note(list(complete)),
        *limits(found.by_area, found.unit),
        *caveats,
    ]
    details = [timing_sentence(found)]
    return Answer(question, verdict_sentence(found), caveats, found, details, sets=sets)


def _complete(pairs: list[Pair], test_set: str) -> PairCurves:
    """The pairs of which both finished with losses of a set, with these."""
    complete: PairCurves = {}
    for near, far in pairs:
        curves = near.task_losses(test_set), far.task_losses(test_set)
        if near.finished and far.finished and curves[0] is not None and curves[1] is not None:
            complete[near, far] = curves[0], curves[1]
    return complete


def _by_seed(complete: PairCurves) -> list[tuple[TaskCurves, TaskCurves]]:
    """One pair for each seed: the mean of the pairs of that seed, whatever else they vary."""
    seeds: dict[tuple[str, ...], list[tuple[TaskCurves, TaskCurves]]] = {}
    for (near, _), curves in complete.items():
        seeds.setdefault(near.seed, []).append(curves)
    means = [
        (mean_curves([near for near, _ in pairs]), mean_curves([far for _, far in pairs]))
        for pairs in seeds.values()
    ]
    return [(near, far) for near, far in means if near is not None and far is not None]


def answer_best(arms: list[Arm]) -> Answer:
    """The arm with the lowest mean by area, set against the next."""
    question = "Which arm was best?"
    ground = common_ground(arms)
    if ground is None:
        some = any(arm.finished for arm in arms)
        unit = unit_of(trial for arm in arms for trial in arm.trials)
        why = f"the arms share no step or no query {unit}" if some else "no trial finished"
        return Answer(question, f"This study does not say: {why}.", [], None)
    ranked = sorted(ground.arms, key=lambda arm: ground.areas[arm.name])
    first = ranked[0]
    by_area = area_words(ground.steps, ground.whole)
    best = f"{first.name} had the lowest {by_area}, {number(ground.areas[first.name])}"
    caveats = left_out_note(ground.left_out)
    if len(ranked) == 1:
        only = "it is the study’s only arm" if len(arms) == 1 else "no other arm finished"
        return Answer(question, f"{best}; {only}.", caveats, None)

    second = ranked[1]
    sets = over_sets(lambda key: contrast_arms(first, second, key, ground.steps))
    found = sets.get(SETS["query"])
    if found is None:
        unit = unit_of([*first.trials, *second.trials])
        sentence = f"{best}; it shares no seed or no query {unit} with the next."
        return Answer(question, sentence, caveats, None)
    result = found.by_area
    clear = "" if result.verdict == "ahead" else ", which is no clear difference"
    sentence = (
        f"{best}; {first.name} minus the next best, {second.name}, is "
        f"{signed(result.difference)} (95% interval {interval(result)}){clear}, ahead on "
        f"{result.tasks_ahead} of {result.tasks} {found.unit}s."
    )
    picked = "The two arms were picked by their result, so the interval flatters the first."
    caveats = [picked, *limits(result, found.unit), *caveats]
    return Answer(question, sentence, caveats, found, [timing_sentence(found)], sets=sets)
