"""Which sources of the pool the rows of each arm come from and when, and how each source fares.

Only of studies whose pool has a list of sources.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.report.arms import Arm
from orchestrator.report.tables import Cell, Table, gap_cell, loss_cell
from orchestrator.report.trial import Trial
from orchestrator.storage.files import SOURCE

THIRDS = ("first third", "second third", "last third")


def source_table(arms: list[Arm]) -> Table | None:
    """Rows of each source in the plan of each arm, and its part of all and of each third of them.

    Means over the trials of an arm; None where no plan knows of sources.
    """
    table = Table(["arm", "source", "rows", "of all", *THIRDS])
    for arm in arms:
        plans = [column for trial in arm.trials if (column := _trained_sources(trial)) is not None]
        names = {name for plan in plans for name in plan.unique().to_pylist()}
        for name in sorted(names):
            members = [pc.equal(plan, name).to_numpy() for plan in plans]
            # Of the whole and of each third; a plan of one row has thirds without any.
            parts = [[whole, *np.array_split(whole, 3)] for whole in members]
            shares = np.array([[p.mean() if len(p) else 0.0 for p in part] for part in parts])
            rows = np.mean([whole.sum() for whole in members])
            table.rows.append(
                [
                    Cell(arm.label),
                    Cell(name),
                    Cell(f"{rows:,.0f}", "number"),
                    *(Cell(f"{share:.0%}", "number") for share in shares.mean(axis=0)),
                ]
            )
    return table if table.rows else None


def source_loss_table(arms: list[Arm]) -> Table | None:
    """Mean loss of each source's held-out items at step 0 and at the end, by arm.

    Means over the trials of an arm; None where no held-out item comes from such a pool.
    """
    table = Table(["arm", "source", "held-out items", "step 0", "end", "change"])
    for arm in arms:
        ends = [dict(_ends(trial)) for trial in arm.trials]
        for name in sorted({name for of_trial in ends for name in of_trial}):
            known = [of_trial[name] for of_trial in ends if name in of_trial]
            items, start, end = np.mean(known, axis=0).tolist()
            table.rows.append(
                [
                    Cell(arm.label),
                    Cell(name),
                    Cell(f"{items:,.0f}", "number"),
                    loss_cell(start),
                    loss_cell(end),
                    gap_cell(end - start),
                ]
            )
    return table if table.rows else None


def _trained_sources(trial: Trial) -> pa.ChunkedArray | None:
    """The source of each row that the trial is trained on, in order."""
    plan = trial.tables.get("plan")
    if plan is None or SOURCE.name not in plan.column_names:
        return None
    return plan[SOURCE.name].slice(0, trial.rows_fed)


def _ends(trial: Trial) -> Iterator[tuple[str, tuple[int, float, float]]]:
    """Each source of held-out items with their number and their first and last mean loss."""
    data = trial.config.get("data", {})
    held_out, losses = data.get("held_out"), trial.tables.get("losses")
    if losses is None or not isinstance(data.get("pool"), list) or "from" not in (held_out or {}):
        return
    held = losses.filter(pc.equal(losses["set"], "held_out"))
    if held_out["from"] != "pool" or not len(held):
        return
    sources = pc.list_element(pc.split_pattern(held["id"], "/", max_splits=1), 0)
    by_step = held.append_column(SOURCE, sources).group_by(["step", SOURCE.name])
    means = by_step.aggregate([("loss", "mean"), ("loss", "count")])
    for name in sources.unique().to_pylist():
        own = means.filter(pc.equal(means[SOURCE.name], name)).sort_by("step").to_pylist()
        if own[0]["loss_mean"] is not None and own[-1]["loss_mean"] is not None:
            yield name, (own[0]["loss_count"], own[0]["loss_mean"], own[-1]["loss_mean"])
