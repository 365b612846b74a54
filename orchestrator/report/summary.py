"""summary.csv: a row a trial, also for those that failed or were stopped early."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table

from orchestrator.core.statistics.analysis import area_under_curve, set_curve, steps_to_fraction
from orchestrator.data.dataset import TEST_SETS
from orchestrator.report.read import journal_curves
from orchestrator.report.tables import number
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import LOSSES_FILE, TRAIN_LOG_FILE
from orchestrator.training.evaluation.sampled import completed
from orchestrator.training.journal import read_journal
from orchestrator.training.outcome import FINISHED

LARGEST_ERROR = 0.05  # of an update fidelity that says anything
NAMED = 3  # trials that failed for one reason, on the screen


def trial_metrics(folder: Path) -> dict[str, float]:
    """The columns of a finished trial that are computed from its tables."""
    table = completed(pq.read_table(folder / LOSSES_FILE))
    metrics: dict[str, float] = {}
    for name in TEST_SETS:
        part = table.filter(pc.equal(table["set"], name))
        if not len(part):
            continue
        losses = part["loss"].to_numpy()
        steps, curve = set_curve(part["step"].to_numpy(), losses)
        if not len(steps):  # every answer of the set was cut away
            continue
        metrics[f"{name}_loss"] = float(curve[-1])
        if name == "query":
            metrics["best_query_loss"] = float(np.nanmin(curve))
            metrics["query_loss_auc"] = float(area_under_curve(steps, curve))
            to_90 = steps_to_fraction(steps, curve)
            if to_90 is not None:
                metrics["steps_to_90"] = to_90
    return metrics | _fidelity(pq.read_table(folder / TRAIN_LOG_FILE).to_pylist())


def _fidelity(log: list[dict[str, Any]]) -> dict[str, float]:
    """The lowest update fidelity that is known well enough, and the last share of weights changed.

    Args:
        log: a line of `TRAIN_LOG_SCHEMA` a step; null, or absent, where it was not measured.
    """
    measured = [entry for entry in log if entry.get("update_fidelity") is not None]
    known = [e["update_fidelity"] for e in measured if e["fidelity_error"] <= LARGEST_ERROR]
    lowest = {"lowest_update_fidelity": min(known)} if known else {}
    return lowest | ({"changed_weights": measured[-1]["changed_weights"]} if measured else {})


def stopped_metrics(folder: Path, last: int) -> dict[str, float]:
    """The columns of a trial that was stopped after the step `last`, from its journal.

    No area and no steps to 90%: over fewer steps they are not those of a finished trial.
    """
    curves = journal_curves(folder, last)
    metrics = {f"{name}_loss": float(losses[-1]) for name, (_, losses) in curves.items()}
    if "query" in curves:
        metrics["best_query_loss"] = float(curves["query"][1].min())
    steps = [event for event in read_journal(folder) if event["event"] == "step"]
    return metrics | _fidelity([event for event in steps if event["step"] <= last])


def write_summary(path: Path, rows: list[dict[str, Any]], swept: list[str]) -> None:
    """Write the table; every row has `trial`, `arm` and `status`, what it lacks stays empty.

    `twin_of` is a column where there are twins.
    """
    twins = ["twin_of"] if any("twin_of" in row for row in rows) else []
    columns = [
        "trial", "arm", "status", *twins, *swept, "steps",
        *(f"{name}_loss" for name in TEST_SETS),
        "best_query_loss", "query_loss_auc", "steps_to_90",
        "precision", "lowest_update_fidelity", "changed_weights",
        "set_sha256", "order_sha256", "seconds", "tokens_per_second",
    ]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def screen_table(rows: list[dict[str, Any]]) -> Table:
    """The final table of the screen, the lowest query loss first.

    By area where all trials took the same steps, or else by the loss at the end of each.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = {
        "trial": "trial",
        "status": "status",
        "steps": "steps",
        "query_loss": "query\nloss",
        "held_out_loss": "held-out\nloss",
        "off_target_loss": "off-target\nloss",
        "query_loss_auc": "query loss\nby area",
    }
    shown = [name for name in columns if any(name in row for row in rows)]
    if all(row["status"] == FINISHED for row in rows):
        shown.remove("status")
    for name in shown:
        words = name in ("trial", "status")
        table.add_column(
            columns[name], justify="left" if words else "right", overflow="fold", no_wrap=not words
        )
    same = len({row.get("steps") for row in rows if row["status"] == FINISHED}) == 1
    loss = "query_loss_auc" if same else "query_loss"
    for row in sorted(rows, key=lambda r: (r["status"] != FINISHED, r.get(loss, math.inf))):
        table.add_row(*(_value_text(row.get(name, "")) for name in shown))
    return table


def by_reason(errors: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each reason of `errors`, by trial, once, with the names of its trials, three at most."""
    trials: defaultdict[str, list[str]] = defaultdict(list)
    for trial, error in errors.items():
        trials[error].append(trial)
    for error, names in trials.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield error, ", ".join(names[:NAMED]) + more


def _value_text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
