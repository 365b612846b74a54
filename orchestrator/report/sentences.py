"""The sentences of an answer, each from the numbers that it states."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.statistics.analysis import Steps
from orchestrator.core.statistics.comparison import FEWEST_TASKS, Comparison
from orchestrator.report.arms import Arm, CommonBasis
from orchestrator.report.contrast import Contrast
from orchestrator.report.tables import doubt, interval, number, signed
from orchestrator.report.trial import Trial
from orchestrator.training.drawn import pairs_in_words, varied_by


def area_words(steps: Steps, whole: bool) -> str:
    """What an area is of; `whole`: whether all curves end at the last of the steps."""
    until = "" if whole else f" up to the last common step, {steps[-1]:,}"
    return f"area under the query-loss curve{until}"


def verdict_sentence(contrast: Contrast, yes: str = "Yes") -> str:
    """Whether arm A was ahead by the area under the curve; `yes` is the first word if it was."""
    result, a, b = contrast.by_area, contrast.a_name, contrast.b_name
    by_area = f"by the {area_words(contrast.a.steps, contrast.whole)}"
    ahead_on = f"ahead on {result.tasks_ahead} of {result.tasks} {contrast.unit}s"
    if why := doubt(result, contrast.unit):
        return (
            f"No clear difference ({why}): {by_area}, {a} minus {b} is "
            f"{signed(result.difference)} (95% interval {interval(result)}), with {a} {ahead_on}."
        )
    head, sign = (yes, -1) if result.verdict == "ahead" else ("No", 1)
    low, high = sorted((sign * result.low, sign * result.high))
    return (
        f"{head}: {by_area}, {a} was {result.verdict} {'of ' if sign < 0 else ''}{b} by "
        f"{number(sign * result.difference)} (95% interval {number(low)} to {number(high)}), "
        f"{ahead_on}."
    )


def timing_sentence(contrast: Contrast) -> str:
    """The middle and the end, which may differ: once arms have seen the same data they converge."""

    def state(result: Comparison) -> str:
        why = doubt(result, contrast.unit)
        clear = f", not clear: {why}" if why else ""
        return f"{signed(result.difference)} ({interval(result)}{clear})"

    end = "the end" if contrast.whole else "the last common step"
    parts = [f"at {end} (step {contrast.end:,}) {state(contrast.by_step[contrast.end])}"]
    if contrast.middle is not None:
        words = contrast.middle_words
        place = f"{words} (step {contrast.middle:,})" if words == "half-way" else words
        parts.insert(0, f"{place} {state(contrast.by_step[contrast.middle])}")
    return f"{contrast.a_name} minus {contrast.b_name}: {', '.join(parts)}."


def order_sentences(basis: CommonBasis, neighbours: list[Contrast]) -> list[str]:
    """Sentences on three arms or more: which are clear of the next, and all means by area."""
    if len(basis.arms) < 3:
        return []
    states: dict[str, list[str]] = {}
    for pair in neighbours:
        why = doubt(pair.by_area, pair.unit)
        of_next = "ahead of the next" if pair.by_area.verdict == "ahead" else "behind the next"
        state = f"not clear ({why})" if why else f"clearly {of_next}"
        states.setdefault(state, []).append(f"{pair.a_name} and {pair.b_name}")
    parts = [f"{state}: {', '.join(pairs)}" for state, pairs in sorted(states.items())]
    expected = [arm.name for arm in basis.arms]
    ranked = sorted(expected, key=basis.areas.__getitem__)
    means = ", ".join(f"{name} {number(basis.areas[name])}" for name in ranked)
    order = f"The means of all arms stand in the expected order: {means}."
    if ranked != expected:
        order = (
            "The means of the arms do not stand in the expected order "
            f"({', '.join(expected)}): {means}."
        )
    return [f"Each arm against the next: {'; '.join(parts)}.", order] if parts else [order]


def set_note(pairs: list[tuple[Trial, Trial]]) -> list[str]:
    """Whether the two sides trained on the same instances."""
    sets = [(a.summary["set_sha256"], b.summary["set_sha256"]) for a, b in pairs]
    if all(a and a == b for a, b in sets):
        return ["Both arms trained on the same instances; they differ in the order alone."]
    if all(a and b for a, b in sets):
        return ["The arms did not train on the same instances: order is not all that differs."]
    return []


def trained_on_note(arms: list[Arm]) -> list[str]:
    """A sentence on the arms whose arrangement has trained on the queries' answers, if any, and
    one on those that were searched by them."""
    learned = ", ".join(arm.name for arm in arms if arm.trials[0].learned_queries)
    searched = ", ".join(arm.name for arm in arms if arm.trials[0].searched_queries)
    judged = "its losses on the held-out set judge it."
    sentences = {
        f"The query losses of {learned} are of answers that the arrangement has trained on "
        f"(embedding.pooling: path): {judged}": learned,
        f"The query losses of {searched} are what the arrangement was searched to lower, by the "
        f"gradients of the answers (arrangement.method: searched): {judged}": searched,
    }
    return [sentence for sentence, names in sentences.items() if names]


def left_out_note(trials: list[Trial]) -> list[str]:
    """A sentence on the trials that `common_seeds` left out, if any."""
    names = ", ".join(trial.name for trial in trials)
    return [f"Left out, because not every arm finished the same seed: {names}."] if names else []


def limit_sentences(result: Comparison, unit: str) -> list[str]:
    """What the interval covers and what it does not; the unit is "task" or "instance"."""
    if result.seeds == 1:
        sentences = [
            f"One seed on {result.tasks} {unit}s says little: the interval covers the choice of "
            f"{unit}s, not what another seed would change."
        ]
    else:
        sentences = [
            f"{result.seeds} seeds on {result.tasks} {unit}s: the interval covers the choice of "
            f"{unit}s and of seeds."
        ]
        if result.low <= 0 <= result.high and not result.low_tasks <= 0 <= result.high_tasks:
            sentences.append(
                f"Over {unit}s alone, with these {result.seeds} seeds, it is "
                f"{signed(result.low_tasks)} to {signed(result.high_tasks)}: more seeds would tell "
                "whether that holds of others."
            )
    if result.tasks < FEWEST_TASKS:
        sentences.append(f"With fewer than {FEWEST_TASKS} {unit}s no difference is called clear.")
    return sentences


def listed(names: Sequence[str]) -> str:
    """Names in a row, as "a, b and c"."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def twin_note(trials: list[Trial]) -> str:
    """Which trials were not trained because they cannot differ from another one; "" of none."""
    by_name, twins = {trial.name: trial for trial in trials}, [t for t in trials if t.twin_of]
    if not twins:
        return ""
    pairs = pairs_in_words({trial.name: str(trial.twin_of) for trial in twins})
    sentence = (
        f"{len(twins):,} of {len(trials):,} trials {'was' if len(twins) == 1 else 'were'} not "
        "trained, because nothing tells them from another one (the same rows in the same order, "
        f"the same model and settings, nothing drawn): {pairs}. They have its losses and are no "
        "repetitions of it: intervals count it once."
    )
    seeded = [t for t in twins if t.twin_of in by_name and t.seed != by_name[t.twin_of].seed]
    if not seeded or "data" not in seeded[0].config:
        return sentence
    return f"{sentence} Their seed decides nothing; to repeat such an arm sweep " + (
        f"{varied_by(seeded[0].config)}."
    )
