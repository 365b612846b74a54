"""The answers of a study: which arm is best, and what its claim, stated or implied, comes to.

The best arm is told first, by `winner`. Where the claim is an order of arms, its sentence sets the
first arm against the last by the area under the query curve. "Yes" takes more: each arm clearly
ahead of the next. Every one of these tests must hold, so that 95% intervals need no correction for
their number (Berger 1982, intersection-union tests). All arms are compared over the seeds and steps
that they share. Claims of another kind are answered by `schedule` and `findings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from orchestrator.config.claim import CLAIMED_ARMS, Claim
from orchestrator.core.statistics.analysis import Steps
from orchestrator.report.arms import Arm, common_basis, unit_of
from orchestrator.report.baseline import (
    Against,
    baseline_details,
    baseline_sentence,
    set_against,
)
from orchestrator.report.claim import ImpliedClaim, pair_note
from orchestrator.report.contrast import Contrast, arm_contrast, set_contrasts, trial_pairs
from orchestrator.report.figures import SETS
from orchestrator.report.findings import Finding, section_finding
from orchestrator.report.schedule import schedule_answer
from orchestrator.report.sentences import (
    left_out_note,
    limit_sentences,
    order_sentences,
    set_note,
    timing_sentence,
    trained_on_note,
    verdict_sentence,
)
from orchestrator.report.winner import Winner, best_sentence, find_winner

SHOWN_NAMES = 8  # of arms that a claim does not know


@dataclass(frozen=True)
class Answer:
    """What the top of the page says.

    Attributes:
        question, sentence: of the claim, one sentence each.
        headline: which arm is best, before all else; the sentence itself where nothing else was
            asked.
        winner: the best arm, and how far the others are behind it; None without any.
        details: what else the headline needs, a sentence each.
        caveats: what limits the answer, a sentence each.
        contrast: the two arms compared; None when no two comparable ones finished.
        neighbours: of a claim, each arm against the next in the expected order.
        sets: title of a test set -> the two arms compared on it.
        against: of a claim of a baseline, each other arm set against it.
    """

    question: str
    sentence: str
    caveats: list[str]
    contrast: Contrast | None
    details: list[str] = field(default_factory=list)
    neighbours: list[Contrast] = field(default_factory=list)
    sets: dict[str, Contrast] = field(default_factory=dict)
    against: list[Against] = field(default_factory=list)
    headline: str = ""
    winner: Winner | None = None


def answer_of(claim: Claim | ImpliedClaim, arms: list[Arm]) -> Answer:
    """The claim's question, answered by its arms or by the section that its kind looks at."""
    winner = find_winner(arms)
    best = _best_answer(claim.question, best_sentence(winner, arms), winner)
    answer = _answer_of(claim, arms, best)
    caveats = [*trained_on_note(arms), *answer.caveats]
    return replace(answer, caveats=caveats, headline=best.sentence, winner=winner)


def _answer_of(claim: Claim | ImpliedClaim, arms: list[Arm], best: Answer) -> Answer:
    if isinstance(claim, ImpliedClaim):
        return _pair_answer(claim) if claim.pairs else best
    if claim.kind not in CLAIMED_ARMS:
        return _beside_best(section_finding(claim.kind, arms), best)
    names = {trial.arm for arm in arms for trial in arm.trials}
    if names.isdisjoint(claim.arms):
        return _beside_best(Finding(_no_arms(claim, sorted(names))), best)
    if claim.kind == "schedule":
        return _schedule_answer(claim, arms, best)
    answered = {"order": _order_answer, "baseline": _baseline_answer}
    return answered[claim.kind](claim, arms)


def _schedule_answer(claim: Claim, arms: list[Arm], best: Answer) -> Answer:
    """Are the claim's arms in their order at a constant learning rate, too?"""
    found = schedule_answer(claim.arms, arms)
    finding, gap = found.finding, found.gap
    if gap is None:
        return _beside_best(finding, best)
    return Answer(
        claim.question, finding.sentence, finding.caveats, gap.query, finding.details, sets=gap.sets
    )


def _no_arms(claim: Claim, names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
    return (
        f"This study does not say: the claim is of the arms {', '.join(claim.arms)}, and those "
        f"here, of other settings, are {shown}."
    )


def _order_answer(claim: Claim, arms: list[Arm]) -> Answer:
    """Are the claim's arms in the order that it expects?"""
    # Which of the arms can be compared, and what must be said of the others.
    by_name = {arm.name: arm for arm in arms if arm.finished}
    missing = [name for name in claim.arms if name not in by_name]
    left_out = [f"No trial finished of: {', '.join(missing)}."] if missing else []
    first, last = claim.arms[0], claim.arms[-1]
    basis = common_basis([by_name[name] for name in claim.arms if name not in missing])
    unit = unit_of(trial for arm in by_name.values() for trial in arm.trials)
    if basis is None:
        sentence = f"This study does not say: its arms share no step or no query {unit}."
        return Answer(claim.question, sentence, left_out, None)
    left_out = [*left_out_note(basis.left_out), *left_out]

    # Each arm against the next.
    contrasts = [arm_contrast(a, b, steps=basis.steps) for a, b in pairwise(basis.arms)]
    neighbours = [contrast for contrast in contrasts if contrast is not None]
    details = order_sentences(basis, neighbours)

    # The first against the last.
    comparable = {arm.name: arm for arm in basis.arms}
    if not {first, last} <= comparable.keys():
        sentence = f"This study does not say: {first} and {last} did not both finish."
        return Answer(claim.question, sentence, left_out, None, details, neighbours)
    ends = comparable[first], comparable[last]
    clear = [contrast.a_name for contrast in neighbours if contrast.by_area.verdict == "ahead"]
    yes = "Yes" if clear == claim.arms[:-1] else "In part"
    sentence = f"This study does not say: {first} and {last} share no seed or no query {unit}."
    unanswered = Answer(claim.question, sentence, left_out, None, details, neighbours)
    notes = set_note(trial_pairs(*ends))
    return _ends_answer(
        unanswered, ends, basis.steps, lambda contrast: verdict_sentence(contrast, yes), notes
    )


def _baseline_answer(claim: Claim, arms: list[Arm]) -> Answer:
    """Which of the claim's arms are ahead of its first, on the set that the claim names?"""
    by_name = {arm.name: arm for arm in arms if arm.finished}
    missing = [name for name in claim.arms if name not in by_name]
    left_out = [f"No trial finished of: {', '.join(missing)}."] if missing else []
    baseline, *others = (by_name.get(name) for name in claim.arms)
    compared = [arm for arm in others if arm is not None]
    against = set_against(baseline, compared, claim.set) if baseline else []
    if baseline is None or not against:
        why = f"{claim.arms[0]} shares no seed, step or task of data.{claim.set} with another arm"
        return Answer(claim.question, f"This study does not say: {why}.", left_out, None)
    lowest = min(against, key=lambda row: row.corrected.comparison.difference)
    result = lowest.corrected.comparison
    answer = Answer(
        claim.question, baseline_sentence(baseline.name, claim.set, against),
        [*limit_sentences(result, unit_of(baseline.trials, claim.set)), *left_out], None,
        baseline_details(baseline.name, against), against=against,
    )  # fmt: skip
    notes = set_note(trial_pairs(lowest.arm, baseline))
    beside = _ends_answer(answer, (lowest.arm, baseline), None, lambda _: answer.sentence, [])
    # What the intervals cover is told of the set that decides, not of the query set.
    return replace(beside, details=answer.details, caveats=[*notes, *answer.caveats])


def _pair_answer(claim: ImpliedClaim) -> Answer:
    """Were the nearest-first trials ahead of their farthest-first counterparts?"""
    complete = claim.complete
    left_out = [
        f"Left out: {near.label} against {far.label}, because not both finished with a query loss."
        for near, far in claim.pairs
        if (near, far) not in complete
    ]
    if not complete:
        sentence = "This study does not say: no nearest-first trial and its farthest-first "
        return Answer(claim.question, f"{sentence}counterpart both finished.", left_out, None)
    unit = unit_of(chain.from_iterable(claim.pairs))
    sentence = f"This study does not say: its pairs of trials share no query {unit}."
    unanswered = Answer(claim.question, sentence, left_out, None)
    notes = [pair_note(complete), *set_note(complete)]
    return _ends_answer(unanswered, claim.ends, None, verdict_sentence, notes)


def _best_answer(question: str, sentence: str, winner: Winner | None) -> Answer:
    """The best arm set against the next one, in the tables at the steps that all arms share."""
    if winner is None:
        return Answer(question, sentence, [], None)
    basis, ranking, same_steps = winner.basis, winner.decisive, winner.same_steps
    result = ranking.next_best
    limits = limit_sentences(result, ranking.unit) if result else []
    alone = Answer(question, sentence, [*limits, *left_out_note(basis.left_out)], None)
    first, others = ranking.first, ranking.others
    if not others or same_steps is None:
        return alone
    answer = _ends_answer(alone, (first, others[0]), basis.steps, lambda _: sentence, [])
    names = f"{first.name} and {others[0].name}"
    by_area = f"The tables that set {names} against each other are by the {same_steps.words}."
    told = [by_area] if winner.own_end and answer.contrast else []
    # What the intervals cover is told of the loss that decides, not of the one in the tables.
    return replace(answer, caveats=alone.caveats, details=[*told, *answer.details])


def _beside_best(finding: Finding, best: Answer) -> Answer:
    """An answer that needs no order of arms; the best arm and the next stand in its tables."""
    details = [*finding.details, *best.details]
    caveats = list(dict.fromkeys([*finding.caveats, *best.caveats]))
    return replace(best, sentence=finding.sentence, caveats=caveats, details=details)


def _ends_answer(
    unanswered: Answer,
    ends: tuple[Arm, Arm],
    steps: Steps | None,
    headline: Callable[[Contrast], str],
    notes: list[str],
) -> Answer:
    """The answer that two arms give, on every test set that both were measured on.

    Args:
        unanswered: the answer where the two cannot be compared.
        ends: the arm that is expected ahead, and the one it is set against.
        steps: as for `contrast`.
        headline: the sentence, from the contrast on the query set.
        notes: what the reader must know of the two arms, a sentence each.
    """
    sets = set_contrasts(*ends, steps)
    query = sets.get(SETS["query"])
    if query is None:
        return unanswered
    return replace(
        unanswered,
        sentence=headline(query),
        caveats=[*notes, *limit_sentences(query.by_area, query.unit), *unanswered.caveats],
        contrast=query,
        details=[timing_sentence(query), *unanswered.details],
        sets=sets,
    )
