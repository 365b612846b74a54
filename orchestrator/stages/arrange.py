"""Stage 4: the plan of one trial as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.artifacts import Artifact
from orchestrator.config.schema import Arrangement
from orchestrator.core.arrangements import Request, arrange
from orchestrator.core.plan import Plan
from orchestrator.errors import DataError
from orchestrator.stages.neighbours import load_space, load_units

ARRANGE_VERSION = 1
PLAN = pa.schema(
    [
        ("position", pa.int64()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("task", pa.string()),
        ("turn", pa.int64()),
        ("unit", pa.int64()),
        ("distance", pa.float64()),
    ]
)


def make_plan(
    arrangement: Arrangement, seed: int, dataset: Artifact, neighbours: Artifact | None
) -> Plan:
    """The plan of a trial.

    Args:
        neighbours: ranked lists at the arrangement's granularity; None for a method that does
            not look at distances.

    Raises:
        DataError: if the budget leaves no row.
    """
    granularity = arrangement.granularity if neighbours else "instance"
    request = Request(
        units=load_units(dataset, granularity),
        near=load_space(neighbours, farthest=False) if neighbours else None,
        far=load_space(neighbours, farthest=True) if neighbours else None,
        seed=seed,
        selection=arrangement.selection,
        order=arrangement.order,
        rows=arrangement.rows,
        turns=arrangement.turns,
        cut=arrangement.cut,
        within_turn=arrangement.within_turn,
    )
    plan = arrange(arrangement.method, request)
    if not len(plan):
        raise DataError("the arrangement holds no row: raise arrangement.rows or .turns")
    return plan


def write_plan(plan: Plan, dataset: Artifact, path: Path) -> None:
    """`plan.parquet`: position, row, id, task, turn, unit, distance (null where there is none)."""
    table = pq.read_table(dataset.path / "instances.parquet", columns=["id", "task"])
    chosen = table.take(pa.array(plan.rows))
    columns = {
        "position": np.arange(len(plan)),
        "row": plan.rows,
        "id": chosen["id"],
        "task": chosen["task"],
        "turn": plan.turn,
        "unit": plan.unit,
        "distance": pa.array(plan.distance, mask=np.isnan(plan.distance)),
    }
    pq.write_table(pa.table(columns, schema=PLAN), path)
