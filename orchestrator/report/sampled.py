"""Which points of a report are estimates from a part of a test set, in words."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from orchestrator.report.figures import SETS
from orchestrator.report.tables import SAMPLED, number
from orchestrator.report.trial import Trial


def sampled_note(trials: list[Trial]) -> str:
    """What was measured at the marked steps, and how far the means may be off; "" without any."""
    parts = [part for key, title in SETS.items() if (part := _set_words(trials, title, key))]
    if not parts:
        return ""
    sentences = [
        f"{SAMPLED}, and a hollow marker in figures: there a part of the items was measured "
        f"(evaluation.sample), and the losses of the others are estimated from it and from the "
        f"steps at which all were measured: {'; '.join(parts)}.",
        "Intervals cover the choice of the items: they stand among what sets tasks apart.",
    ]
    if any(trial.unlabelled(key) for trial in trials for key in SETS):
        sentences.append("Of a set without task labels, items that were always measured are "
                         "compared.")  # fmt: skip
    if any(trial.stopped for trial in trials):
        sentences.append("Losses of trials that were stopped early are those of the part alone.")
    return " ".join(sentences)


def _set_words(trials: Iterable[Trial], title: str, key: str) -> str:
    """How much of a set was measured, and the largest margin of its mean."""
    words, most = "", 0.0
    for trial in trials:
        steps = trial.sampled_steps(key)
        if not steps:
            continue
        table = trial.tables["losses"]
        table = table.filter(pc.equal(table["set"], key))
        lines = table.filter(pc.equal(table["step"], min(steps)))
        measured = pc.sum(pc.and_(pc.is_valid(lines["loss"]), pc.invert(lines["estimated"])))
        words = f"{title.lower()} {measured.as_py():,} of {lines['loss'].drop_null().length():,}"
        most = max(most, pc.max(table["margin"]).as_py())
    return f"{words}, a trial’s mean within ±{number(most)} of that of all (95%)" if words else ""


def answered_note(trials: list[Trial]) -> str:
    """How many items were answered at most; "" where all were."""
    generations = [trial.config.get("evaluation", {}).get("generate", {}) for trial in trials]
    most = {generation.get("max_items") for generation in generations} - {None}
    if not most:
        return ""
    items = " or ".join(f"{count:,}" for count in sorted(most))
    return f"At most {items} items of each set were answered (evaluation.generate.max_items)."
