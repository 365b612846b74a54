"""The benchmarks of a study once its trials are over: one task of Ray for each saved model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from orchestrator import models
from orchestrator.config import TrialConfig
from orchestrator.errors import DataError, UserError
from orchestrator.models.adapter import adapter_base
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import file_digest, key_digest, write_json
from orchestrator.storage.files import BENCHMARKS_FILE, BENCHMARKS_RESULT_FILE
from orchestrator.training.evaluation.benchmarks import (
    PACKAGE,
    BenchmarkSpec,
    check_tasks,
    headlines,
    measure,
    measured_table,
    unmeasured,
)
from orchestrator.training.export import saved_model
from orchestrator.training.journal import Journal, read_journal
from orchestrator.training.outcome import FINISHED, read_outcome
from orchestrator.training.spec import TrialSpec
from orchestrator.tune.trainable import refusal_of, reserved_cpus

EVENT = "benchmark"


def check_benchmarks(configs: Iterable[TrialConfig]) -> None:
    """Refuse benchmarks that could not be run, before anything is trained for them.

    Raises:
        ConfigError: what is wrong with the first that is wrong.
    """
    asked = (config.evaluation.benchmarks for config in configs)
    for benchmarks in {each.model_dump_json(): each for each in asked if each}.values():
        check_tasks(benchmarks)


def run_benchmarks(specs: Iterable[TrialSpec], screen: Screen) -> dict[str, str]:
    """Measure the saved models of finished trials, and write the tables beside their losses.

    Returns:
        Why a trial has no table, by its name.
    """
    wanted: dict[str, tuple[Path, list[BenchmarkSpec]]] = {}
    errors = {}
    for spec in specs:
        outcome = read_outcome(spec.folder, spec.key)
        if spec.config.evaluation.benchmarks is None or outcome.status != FINISHED:
            continue
        try:
            models_of_trial = _models(spec, int(outcome.result["steps"]))
        except UserError as error:
            errors[spec.trial] = str(error)
        else:
            wanted[spec.trial] = spec.folder, models_of_trial
    failed = run_models([each for _, models in wanted.values() for each in models], screen)
    for trial, (folder, measured) in wanted.items():
        faults = [failed[spec] for spec in measured if spec in failed]
        if faults:
            errors[trial] = faults[0]
        else:
            _note(folder, write_benchmarks(folder, measured))
    return errors


def run_models(specs: list[BenchmarkSpec], screen: Screen) -> dict[BenchmarkSpec, str]:
    """Run what the store lacks, each distinct model once; returns why some could not be."""
    alike: dict[str, list[BenchmarkSpec]] = {}
    for spec in specs:
        asked = [spec.digest, spec.asked.model_dump(mode="json", exclude={"at"})]
        alike.setdefault(key_digest(asked), []).append(spec)
    if not alike:
        return {}
    line = screen.line("benchmarks", len(alike))
    left = [same for same in alike.values() if unmeasured(same[0])]
    waiting: dict[Any, list[BenchmarkSpec]] = {_start(same[0]): same for same in left}
    failed: dict[BenchmarkSpec, str] = {}
    while waiting:
        line.update(len(alike) - len(waiting))
        (done, *_), _ = ray.wait(list(waiting), num_returns=1)
        same = waiting.pop(done)
        try:
            ray.get(done)
        except Exception as error:
            why = refusal_of(error) or str(error).strip().rpartition("\n")[2][:400]
            failed |= dict.fromkeys(same, why)
    tasks = sorted({task for spec in specs for task in spec.asked.tasks})
    words = f"{len(alike)} models, {', '.join(tasks)}"
    line.done(words, mark="failed" if failed else "done" if left else "reused")
    return failed


def write_benchmarks(folder: Path, specs: list[BenchmarkSpec]) -> pa.Table:
    """Write the table of some models beside their losses, and its digest; returns the table."""
    table = pa.concat_tables([measured_table(spec) for spec in specs])
    pq.write_table(table, folder / BENCHMARKS_FILE)
    digests = {BENCHMARKS_FILE: file_digest(folder / BENCHMARKS_FILE)}
    write_json(folder / BENCHMARKS_RESULT_FILE, {"files": digests, "harness": version(PACKAGE)})
    return table


def _start(spec: BenchmarkSpec) -> Any:
    if spec.asked.path is not None:  # relative to this process's folder, whatever Ray's is
        path = str(Path(spec.asked.path).expanduser().resolve())
        spec = replace(spec, asked=spec.asked.model_copy(update={"path": path}))
    training = spec.config.training
    resources: dict[str, Any] = {"num_gpus": 1} if training.gpus_per_worker else {}
    cpus = reserved_cpus(training.cpus_per_worker)
    return ray.remote(num_cpus=cpus, max_calls=1, **resources)(measure).remote(spec)


def _models(spec: TrialSpec, last: int) -> list[BenchmarkSpec]:
    """The models of a trial at the steps that are asked for, as far as it came.

    Raises:
        DataError: the trial kept none at such a step.
    """
    asked = spec.config.evaluation.benchmarks
    assert asked is not None, "asked by the caller"
    made = []
    for step in sorted({step for step in (*asked.at, last) if step <= last}):
        model, adapter, digest = spec.model, None, spec.model_digest
        if step:
            folder = saved_model(spec.folder, step, last)
            if not folder.is_dir():
                raise DataError(
                    f"it kept no model of step {step}, which evaluation.benchmarks.at names: leave "
                    "that step out, or have training.save_model keep it and train again"
                )
            adapter = folder if adapter_base(folder) else None
            digest = models.fingerprint(folder)
            digest = key_digest([spec.model_digest, digest]) if adapter else digest
            model = spec.model if adapter else folder
        made.append(
            BenchmarkSpec(spec.trial, step, asked, spec.config, model, adapter, digest, spec.store)
        )
    return made


def _note(folder: Path, table: pa.Table) -> None:
    """Tell the trial's journal, and through it MLflow, what is not there yet."""
    by_step: dict[int, dict[str, float]] = {}
    for row in headlines(table).to_pylist():
        by_step.setdefault(row["step"], {})[f"{row['task']}/{row['metric']}"] = row["value"]
    events = read_journal(folder)
    known = [event for event in events if event["event"] == EVENT]
    new = {
        step: values
        for step, values in by_step.items()
        if not any(event["step"] == step and event.items() >= values.items() for event in known)
    }
    if new:
        journal = Journal(folder, kept_to=max(event["step"] for event in events))
        for step, values in new.items():
            journal.write(EVENT, step, **values)
