"""In which arithmetic trials ran, and whether what the optimizer asked for reached the weights."""

from __future__ import annotations

from orchestrator.report.trial import Trial

LEAST = 0.9  # update fidelity that needs no sentence


def arithmetic_notes(trials: list[Trial]) -> list[str]:
    """Sentences for the report: the arithmetic, and the trials whose updates were lost on the way.

    Studies that are older than these columns of summary.csv have none.
    """
    precisions = sorted({trial.summary.get("precision") or "" for trial in trials} - {""})
    notes = []
    if len(precisions) == 1:
        masters = "" if precisions == ["float32"] else ", with float32 master weights"
        notes.append(f"All trials computed in {precisions[0]}{masters}.")
    elif precisions:
        notes.append(
            f"Trials computed in {' and '.join(precisions)}: between these, losses differ by the "
            "arithmetic, too. Set model.precision to one of them and run the study again."
        )
    fidelity = {trial.name: trial.summary.get("lowest_update_fidelity") for trial in trials}
    low = {name: float(text) for name, text in fidelity.items() if text and float(text) < LEAST}
    if low:
        notes.append(
            f"At some step only {min(low.values()):.0%} of what the optimizer had asked for had "
            "reached the weights (update fidelity), the rest was lost to rounding: early losses "
            f"are not those of the data in {', '.join(low)}. Run again with model.precision: "
            "float32, or with a higher training.learning_rate."
        )
    return notes
