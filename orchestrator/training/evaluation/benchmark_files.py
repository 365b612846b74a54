"""The table of benchmarks in a trial's folder, and the mark that says what it is a table of."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from orchestrator.config.schema import TrialConfig
from orchestrator.storage.artifacts import file_digest, key_digest, write_json, write_table
from orchestrator.storage.files import BENCHMARKS_FILE, BENCHMARKS_RESULT_FILE
from orchestrator.training.evaluation.benchmarks import (
    PACKAGE,
    BenchmarkSpec,
    measured_table,
    shared_settings,
)


def write_measured(folder: Path, specs: list[BenchmarkSpec]) -> pa.Table:
    """Write what was measured of the models of one trial beside its losses; returns the table."""
    table = pa.concat_tables([measured_table(spec) for spec in specs])
    write_table(folder / BENCHMARKS_FILE, table)
    mark = {
        "asked": _asked_digest(specs[0].config),
        "files": {BENCHMARKS_FILE: file_digest(folder / BENCHMARKS_FILE)},
        "harness": version(PACKAGE),
    }
    write_json(folder / BENCHMARKS_RESULT_FILE, mark)
    return table


def forget_others(folder: Path, config: TrialConfig) -> None:
    """Remove a table of benchmarks that are not those which the study asks for now."""
    try:
        told = json.loads((folder / BENCHMARKS_RESULT_FILE).read_bytes())["asked"]
    except (OSError, ValueError, KeyError):
        told = None
    if config.evaluation.benchmarks is None or told != _asked_digest(config):
        forget(folder)


def forget(folder: Path) -> None:
    """Remove the table of benchmarks in a folder, if there is one, and the mark beside it."""
    for name in (BENCHMARKS_RESULT_FILE, BENCHMARKS_FILE):
        (folder / name).unlink(missing_ok=True)


def _asked_digest(config: TrialConfig) -> str:
    """Tells apart what is asked of a trial's models, whatever their weights."""
    asked = config.evaluation.benchmarks
    assert asked is not None, "asked by the caller"
    return key_digest([shared_settings(asked, config), sorted(asked.tasks), sorted(asked.at)])
