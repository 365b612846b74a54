"""The order certificates of a study, checked again from its files alone."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from orchestrator.config.strict_yaml import parse
from orchestrator.core.order import check_order, step_count
from orchestrator.core.plan import order_digest
from orchestrator.errors import DataError, OrderError, UserError
from orchestrator.training.record import RESULT, STOPPED


@dataclass(frozen=True)
class Stopped:
    """A trial that a scheduler ended early, so that nobody checked its order.

    Attributes:
        step: the last one that it measured.
    """

    step: int


def verify_trial(folder: Path) -> str:
    """Check one trial's realised order against its plan.

    Returns:
        The certificate: SHA-256 of the order that was fed.

    Raises:
        DataError: if a file is missing or cannot be read.
        OrderError: if the order differs from the plan, or its digest from the recorded one.
    """
    try:
        config, _, _ = parse((folder / "config.yaml").read_text(encoding="utf-8"))
        batch, limit = config["training"]["global_batch"], config["training"].get("max_steps")
        recorded = json.loads((folder / RESULT).read_text())["order_sha256"]
        planned = pq.read_table(folder / "plan.parquet", columns=["row", "id"])
        realised = pq.read_table(folder / "realised.parquet")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder.name}: no certificate, the trial is unfinished or damaged ({error}). "
            "Run the study again to finish it"
        ) from None
    steps = step_count(len(planned), batch, limit)
    realised_steps = realised["step"].to_numpy()
    try:
        check_order(
            planned["row"].to_numpy(), realised_steps, realised["row"].to_numpy(), batch, steps
        )
    except OrderError as error:
        raise OrderError(f"{folder.name}: {error}") from None
    named = dict(zip(planned["row"].to_pylist(), planned["id"].to_pylist(), strict=True))
    ids = realised["id"].to_numpy(zero_copy_only=False)
    if any(named[row] != name for row, name in zip(realised["row"].to_pylist(), ids, strict=True)):
        raise OrderError(f"{folder.name}: a row was fed under another id than the planned one")
    digest = order_digest(ids[realised_steps == step] for step in range(1, steps + 1))
    if digest != recorded:
        raise OrderError(
            f"{folder.name}: the order's SHA-256 is {digest}, result.json says {recorded}"
        )
    return digest


def verify_study(study: Path) -> list[tuple[str, str | Stopped | UserError]]:
    """Each trial's name with its certificate, that it was stopped early, or what is wrong.

    Raises:
        DataError: if the folder holds no trials.
    """
    folders = sorted(path for path in (study / "trials").glob("*") if path.is_dir())
    if (study / "summary.csv").is_file():
        # Trials that an earlier version of the study left are not part of it.
        with (study / "summary.csv").open(newline="", encoding="utf-8") as file:
            folders = [study / "trials" / row["trial"] for row in csv.DictReader(file)]
    if not folders:
        raise DataError(f"{study} holds no trials: give the folder of a study, <output>/<study>")
    found: list[tuple[str, str | Stopped | UserError]] = []
    for folder in folders:
        try:
            found.append((folder.name, _read_stop(folder) or verify_trial(folder)))
        except UserError as error:
            found.append((folder.name, error))
    return found


def _read_stop(folder: Path) -> Stopped | None:
    """The mark of a trial that was stopped; None of a finished one, whatever it was before.

    A damaged mark is none: the trial is then one without a certificate.
    """
    if (folder / RESULT).exists():
        return None
    try:
        return Stopped(int(json.loads((folder / STOPPED).read_bytes())["step"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
