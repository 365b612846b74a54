"""What a trial came to, as its row of summary.csv and as metrics of MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.report.arms import Arm
from orchestrator.report.summary import stopped_metrics, trial_metrics
from orchestrator.tracking import flat_params
from orchestrator.training.journal import precision_of
from orchestrator.training.outcome import FAILED, UNFINISHED, read_outcome
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import Trial


def summary_row(
    trial: Trial, spec: TrialSpec, swept: Sequence[str], *, interrupted: bool
) -> dict[str, Any]:
    """The row of a trial.

    Args:
        swept: dotted keys that the sweep sets in any trial, each a column.
        interrupted: the study ended before the trial did, which therefore did not fail.
    """
    flat = flat_params(trial.config.model_dump(mode="json"))
    values = {key: trial.settings.get(key, flat.get(key, "")) for key in swept}
    outcome = read_outcome(spec.folder, spec.key)
    # A failure of an earlier run is one until its trial begins anew.
    status = outcome.status if interrupted or outcome.status != UNFINISHED else FAILED
    row: dict[str, Any] = {"trial": trial.name, "arm": trial.arm, "status": status, **values}
    if outcome.twin_of is not None:
        row["twin_of"] = outcome.twin_of
    row["precision"] = precision_of(spec.folder) or ""
    if outcome.last_step is not None:
        row |= {"steps": outcome.last_step}
        row |= stopped_metrics(spec.folder, outcome.last_step)
    if outcome.result:
        kept = ("steps", "set_sha256", "order_sha256", "seconds", "tokens_per_second")
        row |= {name: outcome.result[name] for name in kept}
        row |= trial_metrics(spec.folder)
    return row


def metrics_of(row: dict[str, Any], swept: Sequence[str]) -> dict[str, float]:
    """The numbers of a row of the summary under their names in MLflow, without what was swept."""
    # changed_weights has a curve of its own.
    left_out = {"steps", "seconds", "changed_weights", *swept}
    return {
        f"final_{name}" if name.endswith("_loss") and name != "best_query_loss" else name: value
        for name, value in row.items()
        if isinstance(value, int | float) and math.isfinite(value) and name not in left_out
    }


def best_metrics(best: Arm | None, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The means of the best arm, as metrics of its study's run; empty where no arm is the best.

    Args:
        best: with the trials whose mean is taken.
        metrics: `metrics_of` each trial, by its name.
    """
    trials = [metrics[trial.name] for trial in best.trials] if best else []
    names = [name for name in trials[0] if all(name in each for each in trials)] if trials else []
    return {f"best_arm/{name}": float(np.mean([each[name] for each in trials])) for name in names}
