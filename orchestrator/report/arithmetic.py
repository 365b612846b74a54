"""In which arithmetic trials ran, and whether what the optimizer asked for reached the weights."""

from __future__ import annotations

from orchestrator.report.read import Trial

LEAST_FIDELITY = 0.9


def arithmetic_notes(trials: list[Trial]) -> list[str]:
    """Sentences for the report: the arithmetic, and each trial whose updates were lost on the way.

    Studies that are older than these columns of summary.csv have none.
    """
    precisions = sorted({trial.summary.get("precision") or "" for trial in trials} - {""})
    notes = []
    if len(precisions) == 1:
        notes.append(f"All trials computed in {precisions[0]}, with float32 master weights.")
    elif precisions:
        notes.append(
            f"Trials computed in {' and '.join(precisions)}: between these, losses differ by the "
            "arithmetic, too. Set model.precision to one of them and run the study again."
        )
    for trial in trials:
        fidelity = float(trial.summary.get("lowest_update_fidelity") or 1)
        if fidelity < LEAST_FIDELITY:
            notes.append(
                f"In {trial.name} only {fidelity:.0%} of what the optimizer asked for had reached "
                "the weights at some evaluated step (update fidelity), the rest was lost to "
                "rounding: its early losses are not those of its data. Run it again with "
                "model.precision: float32, or with a higher training.learning_rate."
            )
    return notes
