"""What a study's files prove: the orders that were fed, and that no table was changed since."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from orchestrator.config.strict_yaml import parse
from orchestrator.core.order import check_order, step_count
from orchestrator.core.plan import order_digest
from orchestrator.errors import DataError, OrderError, UserError
from orchestrator.storage.files import (
    BENCHMARKS_RESULT_FILE,
    CONFIG_FILE,
    EVALUATED_FOLDER,
    FORECASTS_FOLDER,
    LEDGER_FILE,
    PLAN_FILE,
    REALISED_FILE,
    RESULT_FILE,
    SUMMARY_FILE,
    TRIALS_FOLDER,
)
from orchestrator.storage.ledger import Line, check_scored, read_ledger
from orchestrator.storage.sealed import SEAL, read_sealed
from orchestrator.training.outcome import STOPPED, Outcome, changed_tables, read_outcome
from orchestrator.trials.config_file import config_fault


class Certificate(NamedTuple):
    """What the files of a finished trial prove.

    Attributes:
        order: SHA-256 of the order in which its rows were fed, which is that of its plan.
        tables: how many of its tables are what they were when it ended.
        twin_of: the trial that was fed for both, where the two cannot differ; None: it was itself.
    """

    order: str
    tables: int
    twin_of: str | None = None


def verify_trial(folder: Path) -> Certificate:
    """Check one trial's realised order against its plan, and its tables against their digests.

    Raises:
        DataError: if a file is missing, cannot be read, or is not what it was.
        OrderError: if the order differs from the plan, or its digest from the recorded one.
    """
    if fault := config_fault(folder):
        raise DataError(fault)
    try:
        config, _, _ = parse((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        batch, limit = config["training"]["global_batch"], config["training"].get("max_steps")
        epochs = config["training"].get("epochs", 1)
        result = json.loads((folder / RESULT_FILE).read_text())
        recorded = result["order_sha256"]
        planned = pq.read_table(folder / PLAN_FILE, columns=["row", "id"])
        realised = pq.read_table(folder / REALISED_FILE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder.name}: no certificate, the trial is unfinished or damaged ({error}). "
            "Run the study again to finish it"
        ) from None
    steps = step_count(len(planned), batch, limit, epochs)
    rows, realised_rows = planned["row"].to_numpy(), realised["row"].to_numpy()
    realised_steps = realised["step"].to_numpy()
    try:
        check_order(rows, realised_steps, realised_rows, batch, steps, epochs)
    except OrderError as error:
        raise OrderError(f"{folder.name}: {error}") from None
    named = dict(zip(planned["row"].to_pylist(), planned["id"].to_pylist(), strict=True))
    ids = realised["id"].to_numpy(zero_copy_only=False)
    if any(named[row] != name for row, name in zip(realised_rows.tolist(), ids, strict=True)):
        raise OrderError(f"{folder.name}: a row was fed under another id than the planned one")
    digest = order_digest(ids[realised_steps == step] for step in range(1, steps + 1))
    if digest != recorded:
        raise OrderError(
            f"{folder.name}: the order's SHA-256 is {digest}, result.json says {recorded}"
        )
    again = "run the study again, which trains it anew"
    tables = verify_tables(folder, RESULT_FILE, again)
    return Certificate(digest, tables, result.get("twin_of"))


def verify_study(study: Path) -> list[tuple[str, Certificate | Outcome | UserError]]:
    """Each trial's name with its certificate, its outcome if it was stopped, or what is wrong.

    Raises:
        DataError: if the folder holds no trials.
    """
    folders = sorted(path for path in (study / TRIALS_FOLDER).glob("*") if path.is_dir())
    if (study / SUMMARY_FILE).is_file():
        # Trials that an earlier version of the study left are not part of it.
        with (study / SUMMARY_FILE).open(newline="", encoding="utf-8") as file:
            folders = [study / TRIALS_FOLDER / row["trial"] for row in csv.DictReader(file)]
    if not folders and not (study / EVALUATED_FOLDER).is_dir():
        raise DataError(f"{study} holds no trials: give the folder of a study, <output>/<study>")
    checked: list[tuple[str, Certificate | Outcome | UserError]] = []
    for folder in folders:
        try:
            checked.append((folder.name, _stop(folder) or verify_trial(folder)))
        except UserError as error:
            checked.append((folder.name, error))
    return checked


def verify_measured(study: Path) -> list[tuple[str, int | UserError]]:
    """What was measured apart from training: how many tables of a folder are as they were written.

    Returns:
        (folder below the study's, that number, or what is wrong) of each model that was evaluated
        and of each trial with benchmarks.
    """
    marks: dict[Path, list[str]] = {}
    for pattern in (
        f"{EVALUATED_FOLDER}/*/{RESULT_FILE}",
        f"{EVALUATED_FOLDER}/*/{BENCHMARKS_RESULT_FILE}",
        f"{TRIALS_FOLDER}/*/{BENCHMARKS_RESULT_FILE}",
    ):
        for mark in study.glob(pattern):
            marks.setdefault(mark.parent, []).append(mark.name)
    checked: list[tuple[str, int | UserError]] = []
    for folder, names in sorted(marks.items()):
        name = str(folder.relative_to(study))
        try:
            checked.append((name, sum(verify_tables(folder, mark) for mark in names)))
        except UserError as error:
            checked.append((name, error))
    return checked


def verify_forecasts(study: Path) -> list[tuple[str, str | UserError]]:
    """Each forecast's name with its SHA-256, or that it is not what was written, or scored.

    One that no study scored yet is compared with its own digest alone. A ledger that cannot be read
    is one more.
    """
    checked: list[tuple[str, str | UserError]] = []
    lines: list[Line] = []
    paths = sorted((study / FORECASTS_FOLDER).glob("*.json"))
    try:
        lines = read_ledger(study.resolve().parent) if paths else []
    except UserError as error:
        checked.append((LEDGER_FILE, error))
    for path in paths:
        name = str(path.relative_to(study))
        try:
            record = read_sealed(path)
            check_scored(lines, record)
            checked.append((name, record[SEAL]))
        except UserError as error:
            checked.append((name, error))
    return checked


def verify_tables(folder: Path, mark: str, again: str = "remove it and measure again") -> int:
    """Compare the tables of a folder with the digests that a mark beside them holds.

    Args:
        again: what to do where one has changed.

    Returns:
        How many there are.

    Raises:
        DataError: one of them is missing or differs, or the mark does.
    """
    try:
        changed, tables = changed_tables(folder, mark)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder.name}: nothing proves its tables ({error})") from None
    if changed:
        raise DataError(
            f"{folder.name}: {', '.join(changed)} changed since {mark} was written: {again}"
        )
    return tables


def _stop(folder: Path) -> Outcome | None:
    """The outcome of a stopped trial, whose order nobody checked; None of any other.

    A trial with a result is not a stopped one, whatever it was before. A damaged mark is none: the
    trial is then one without a certificate.
    """
    if (folder / RESULT_FILE).exists():
        return None
    outcome = read_outcome(folder, None)
    return outcome if outcome.status == STOPPED else None
