"""The answer to a study's claim: are its arms in the order that the paper expects?

The headline sets the first arm of `claim.arms` against the last by the area under the query curve;
then come the order of all means, and where each arm can be told from the next. Neighbours lie
closer than the ends, so that a study may bear out the claim and still leave neighbours open.
"""

from __future__ import annotations

from itertools import groupby, pairwise

from orchestrator.config.claim import Claim
from orchestrator.core.analysis import area_under_curve
from orchestrator.report.answer import (
    Answer,
    limits,
    set_note,
    timing_sentence,
    verdict_sentence,
)
from orchestrator.report.arms import Arm, Contrast, contrast_arms, paired, query_curves, stack
from orchestrator.report.tables import Cell, Table
from orchestrator.report.text import MISSING, interval, number, signed

SHOWN_STRETCHES = 4  # of clear steps in a cell


def answer_claim(claim: Claim, arms: list[Arm]) -> Answer:
    """The claim's question, answered by its first arm against its last."""
    by_name = {arm.name: arm for arm in arms if arm.finished}
    missing = [name for name in claim.arms if name not in by_name]
    caveats = [f"No trial finished of: {', '.join(missing)}."] if missing else []
    there = [by_name[name] for name in claim.arms if name not in missing]
    neighbours = [found for a, b in pairwise(there) if (found := contrast_arms(a, b)) is not None]
    in_order, order = order_of_means(there)
    details = [order] if order else []
    first, last = claim.arms[0], claim.arms[-1]
    if {first, last} & set(missing):
        sentence = f"This study does not say: {first} and {last} did not both finish."
        return Answer(claim.question, sentence, caveats, None, details, neighbours)
    found = contrast_arms(there[0], there[-1])
    if found is None:
        sentence = f"This study does not say: {first} and {last} share no seed or no query task."
        return Answer(claim.question, sentence, caveats, None, details, neighbours)
    caveats = [
        *set_note([trials for trials, _ in paired(there[0], there[-1])]),
        *limits(found.by_area),
        *caveats,
    ]
    details = [timing_sentence(found), *details]
    sentence = verdict_sentence(found, yes="Yes" if in_order else "In part")
    return Answer(claim.question, sentence, caveats, found, details, neighbours)


def order_of_means(expected: list[Arm]) -> tuple[bool, str]:
    """Whether the means of the arms by area stand in the expected order, and a sentence on it.

    All arms are averaged over the steps and tasks that they share. The sentence is empty for fewer
    than three arms, about which the headline says all, and where they share nothing.
    """
    curves = [query_curves(arm) for arm in expected]
    stacked = stack([curve for curve in curves if curve is not None])
    if len(expected) < 3 or stacked is None or any(curve is None for curve in curves):
        return True, ""
    steps, _, losses = stacked
    areas = [float(area_under_curve(steps, part).mean()) for part in losses]
    ranked = sorted(range(len(areas)), key=lambda index: areas[index])
    found = ", ".join(f"{expected[index].name} {number(areas[index])}" for index in ranked)
    if ranked == sorted(ranked):
        return True, f"The means of all arms stand in the expected order: {found}."
    names = ", ".join(arm.name for arm in expected)
    return False, f"The means of the arms do not stand in the expected order ({names}): {found}."


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
            "at the end",
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
