"""Journal events as MLflow metrics: which values, and under which names.

But for the benchmarks that a study names the keys are a fixed list, well under 100 a run: what is
measured per task stays in losses.parquet, because the MLflow UI crawls with thousands of keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mlflow.entities import Metric

from orchestrator.core.text_metrics import score_titles
from orchestrator.data.dataset import TEST_SETS

UNFIT = re.compile(r"[^\w./ -]")  # for MLflow, in the name of a metric
SYSTEM = "system"  # event of the machine's own metrics; MLflow charts its keys apart
STEP = {
    "loss": "train_loss",
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "seconds": "step_seconds",
    "useful_share": "useful_share",
    # Only in float16, and only at evaluated steps.
    "overflows": "overflows",
    "loss_scale": "loss_scale",
    "update_fidelity": "update_fidelity",
    "fidelity_error": "fidelity_error",
    "changed_weights": "changed_weights",
}
MEASURED = {
    "measure": {f"{name}_loss" for name in TEST_SETS},
    "generate": {f"{name}_{score}" for name in TEST_SETS for score in score_titles()},
}


def points(event: dict[str, Any]) -> list[Metric]:
    """The metrics of one journal event, with the journal's own time stamp."""
    milliseconds = int(event["time"] * 1000)
    return [Metric(key, value, milliseconds, event["step"]) for key, value in _values(event)]


def _values(event: dict[str, Any]) -> Iterator[tuple[str, float]]:
    kind = event["event"]
    if kind == "step":
        yield from ((name, event[key]) for key, name in STEP.items() if key in event)
        yield "step_tokens_per_second", event["tokens"] / event["seconds"]
    elif kind == SYSTEM:
        names = event.keys() - {"event", "time", "step"}
        yield from ((f"system/{name}", event[name]) for name in sorted(names))
    elif kind == "benchmark":
        for name in sorted(event.keys() - {"event", "time", "step"}):
            yield f"benchmark/{UNFIT.sub('_', name)}", event[name]
    else:
        names = event.keys() & MEASURED.get(kind, set())
        yield from ((name, event[name]) for name in sorted(names))
