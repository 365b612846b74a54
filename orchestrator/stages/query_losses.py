"""The loss that the untouched model has on each query, measured before any plan.

It is what trials measure at step 0, in the place and by the arithmetic of a trial: they find it in
the store, with that of the other test sets, and do not measure it again. Only for arrangements that
look at it (`Needs.losses`); for the loss after training there are the trials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.screen import Line
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.files import LOSSES_FILE
from orchestrator.training.spec import TrialSpec

QUERY_LOSSES_VERSION = 1


def query_losses_spec(trial: TrialSpec, measure: Callable[[TrialSpec], None]) -> Spec:
    """`losses.parquet`: a line for each test item, at step 0.

    The artifact remembers how many `queries` have a loss, and their `mean` in nats.

    Args:
        trial: one that would train this model; it generates no answers.
        measure: writes the untouched model's losses into the folder of a trial, as
            `training.evaluate.evaluate_model`.
    """

    def make(folder: Path, line: Line) -> dict[str, float]:
        measure(replace(trial, folder=folder))
        losses = _query_losses(folder)
        known = losses[~np.isnan(losses)]
        return {"queries": len(known), "mean": float(known.mean()) if len(known) else 0.0}

    model = trial.config.model
    return Spec(
        kind="query_losses",
        key={
            "version": QUERY_LOSSES_VERSION,
            "model": trial.model_digest,
            "tokens": trial.measured_tokens[1],
            "gpu": trial.config.training.gpus_per_worker > 0,
            **model.model_dump(mode="json", include={"adapter", "attention", "precision"}),
        },
        make=make,
        name="query losses at step 0",
        describe=lambda info: f"mean {info['mean']:.3f} of {info['queries']:,} queries",
    )


def load_query_losses(artifact: Artifact) -> NDArray[np.float64]:
    """(queries,) float64 in nats, in row order; NaN where an answer was cut away."""
    return _query_losses(artifact.path)


def _query_losses(folder: Path) -> NDArray[np.float64]:
    table = pq.read_table(folder / LOSSES_FILE, columns=["set", "loss"])
    losses = table.filter(pc.equal(table["set"], "query"))["loss"]
    return losses.to_numpy().astype(np.float64)
