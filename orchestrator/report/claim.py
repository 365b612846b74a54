"""The answer to a study's claim: are its arms in the order that the paper expects?

The headline sets the first arm of `claim.arms` against the last by the area under the query curve.
"Yes" takes more: each arm clearly ahead of the next. Every one of these tests must hold, so that
95% intervals need no correction for their number (Berger 1982, intersection-union tests). All arms
are compared over the seeds and steps that they share. Claims of another kind than `order` are
answered in `findings`.
"""

from __future__ import annotations

from itertools import groupby, pairwise

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.report.answer import (
    Answer,
    answer_best,
    limits,
    over_sets,
    set_note,
    timing_sentence,
    verdict_sentence,
)
from orchestrator.report.arms import Arm, Ground, common_ground, left_out_note, unit_of
from orchestrator.report.contrast import Contrast, contrast_arms, paired
from orchestrator.report.figures import SETS
from orchestrator.report.findings import Finding, find
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, interval, number, signed

SHOWN_STRETCHES = 4  # of clear steps in a cell
SHOWN_NAMES = 8  # of arms that a claim does not know


def answer_claim(claim: Claim, arms: list[Arm]) -> Answer:
    """The claim's question, answered by the order of its arms or by what its kind looks at."""
    if claim.kind == "order":
        names = {trial.arm for arm in arms for trial in arm.trials}
        if names.isdisjoint(claim.arms):
            return _beside(claim.question, Finding(_no_arms(claim, sorted(names))), arms)
        return _answer_order(claim, arms)
    finding = find(claim.kind, arms)
    return _beside(claim.question, finding, arms)


def _beside(question: str, finding: Finding, arms: list[Arm]) -> Answer:
    """An answer that needs no order of arms; where there are several, the best is named too."""
    best = answer_best(arms)
    if best.contrast is None:
        return Answer(question, finding.sentence, finding.caveats, None, finding.details)
    details = [*finding.details, f"Of the arms {best.sentence}", *best.details]
    caveats = list(dict.fromkeys([*finding.caveats, *best.caveats]))
    return Answer(question, finding.sentence, caveats, best.contrast, details, sets=best.sets)


def _no_arms(claim: Claim, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
    return (
        f"This study does not say: the claim is of the arms {', '.join(claim.arms)}, and those "
        f"here, of other settings, are {shown}."
    )


def _answer_order(claim: Claim, arms: list[Arm]) -> Answer:
    by_name = {arm.name: arm for arm in arms if arm.finished}
    missing = [name for name in claim.arms if name not in by_name]
    caveats = [f"No trial finished of: {', '.join(missing)}."] if missing else []
    first, last = claim.arms[0], claim.arms[-1]
    ground = common_ground([by_name[name] for name in claim.arms if name not in missing])
    unit = unit_of(trial for arm in by_name.values() for trial in arm.trials)
    if ground is None:
        sentence = f"This study does not say: its arms share no step or no query {unit}."
        return Answer(claim.question, sentence, caveats, None)
    there = {arm.name: arm for arm in ground.arms}
    compared = [contrast_arms(a, b, steps=ground.steps) for a, b in pairwise(ground.arms)]
    neighbours = [found for found in compared if found is not None]
    caveats = [*left_out_note(ground.left_out), *caveats]
    details = order_details(ground, neighbours)
    if not {first, last} <= there.keys():
        sentence = f"This study does not say: {first} and {last} did not both finish."
        return Answer(claim.question, sentence, caveats, None, details, neighbours)
    ends = there[first], there[last]
    sets = over_sets(lambda key: contrast_arms(*ends, key, ground.steps))
    found = sets.get(SETS["query"])
    if found is None:
        sentence = f"This study does not say: {first} and {last} share no seed or no query {unit}."
        return Answer(claim.question, sentence, caveats, None, details, neighbours)
    clear = [found.a_name for found in neighbours if found.by_area.verdict == "ahead"]
    sentence = verdict_sentence(found, yes="Yes" if clear == claim.arms[:-1] else "In part")
    same_set = set_note([trials for trials, _ in paired(*ends)])
    caveats = [*same_set, *limits(found.by_area, unit), *caveats]
    details = [timing_sentence(found), *details]
    return Answer(claim.question, sentence, caveats, found, details, neighbours, sets)


def order_details(ground: Ground, neighbours: list[Contrast]) -> list[str]:
    """Of three arms or more: which are clear of the next, and the order of all means by area."""
    if len(ground.arms) < 3:
        return []
    named = {
        "ahead": "clearly ahead of the next",
        "no clear difference": "not clear",
        "behind": "clearly behind the next",
    }
    parts = []
    for verdict, words in named.items():
        pairs = [f"{n.a_name} and {n.b_name}" for n in neighbours if n.by_area.verdict == verdict]
        parts += [f"{words}: {', '.join(pairs)}"] if pairs else []
    expected = [arm.name for arm in ground.arms]
    ranked = sorted(expected, key=ground.areas.__getitem__)
    found = ", ".join(f"{name} {number(ground.areas[name])}" for name in ranked)
    order = f"The means of all arms stand in the expected order: {found}."
    if ranked != expected:
        order = (
            "The means of the arms do not stand in the expected order "
            f"({', '.join(expected)}): {found}."
        )
    return [f"Each arm against the next: {'; '.join(parts)}.", order] if parts else [order]


def neighbour_table(neighbours: list[Contrast]) -> Table | None:
    """Each arm minus the next: by area, half-way, at the end, and the steps where it is clear."""
    if not neighbours:
        return None
    table = Table(
        [
            "expected ahead",
            "of",
            "by area",
            "95% interval",
            "half-way",
            _last_column(neighbours),
            "clear at step",
        ]
    )
    for found in neighbours:
        half = found.by_step[found.half_way] if found.half_way is not None else None
        table.rows.append(
            [
                Cell(found.a_name),
                Cell(found.b_name),
                Cell(signed(found.by_area.difference), "number"),
                Cell(interval(found.by_area), "number"),
                Cell(signed(half.difference) if half else MISSING, "number"),
                Cell(signed(found.by_step[found.end].difference), "number"),
                Cell(clear_steps(found), "wrapped"),
            ]
        )
    return table


def set_gap_table(sets: dict[str, Contrast]) -> Table | None:
    """The two compared arms on each test set: whether what helps one set helps the others."""
    if not sets:
        return None
    columns = ["by area", "95% interval", "half-way", _last_column([*sets.values()])]
    table = Table(["set", "compared on", *columns, "ahead by area"])
    for title, found in sets.items():
        result = found.by_area
        half = found.by_step[found.half_way] if found.half_way is not None else None
        leader = {"ahead": found.a_name, "behind": found.b_name}.get(result.verdict, "not clear")
        few = f"never clear with fewer than {FEWEST_TASKS} {found.unit}s"
        table.rows.append(
            [
                Cell(title),
                Cell(f"{result.tasks:,} {found.unit}s", "number"),
                Cell(signed(result.difference), "number"),
                Cell(interval(result), "number"),
                Cell(signed(half.difference) if half else MISSING, "number"),
                Cell(signed(found.by_step[found.end].difference), "number"),
                Cell(few if result.tasks < FEWEST_TASKS else leader, "wrapped"),
            ]
        )
    return table


def _last_column(found: list[Contrast]) -> str:
    return "at the end" if all(one.whole for one in found) else "at the last common step"


def clear_steps(found: Contrast) -> str:
    """The evaluated steps at which A is clearly ahead, and those at which it is behind.

    Stretches of steps, or where there are many the number of steps and the first of them.
    """
    parts = []
    for verdict, word in (("ahead", ""), ("behind", "behind at ")):
        clear = [result.verdict == verdict for result in found.by_step.values()]
        stretches = [
            [step for step, _ in group]
            for is_clear, group in groupby(
                zip(found.by_step, clear, strict=True), key=lambda pair: pair[1]
            )
            if is_clear
        ]
        if len(stretches) > SHOWN_STRETCHES:
            first = stretches[0][0]
            parts.append(f"{word}{sum(clear)} of {len(clear)}, the first is {first:,}")
        elif stretches:
            parts.append(word + ", ".join(_stretch(steps) for steps in stretches))
    return "; ".join(parts) or "none"


def _stretch(steps: list[int]) -> str:
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
