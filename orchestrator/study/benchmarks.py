"""The benchmarks of a study once its trials are over: one task of Ray for each saved model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from orchestrator import models
from orchestrator.errors import DataError, UserError
from orchestrator.models.adapter import adapter_base
from orchestrator.screen import Screen
from orchestrator.storage.artifacts import key_digest
from orchestrator.storage.disk import disk_error
from orchestrator.study.ray_death import ray_has_died
from orchestrator.training.evaluation.benchmark_files import forget, write_measured
from orchestrator.training.evaluation.benchmarks import (
    BenchmarkSpec,
    headlines,
    measure,
    results_digest,
    unmeasured,
)
from orchestrator.training.export import saved_model
from orchestrator.training.journal import Journal, read_journal
from orchestrator.training.outcome import FINISHED, read_outcome
from orchestrator.training.spec import TrialSpec
from orchestrator.tune.run import INTERRUPTED
from orchestrator.tune.trainable import refusal_of

EVENT = "benchmark"


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
            if any(map(unmeasured, models_of_trial)):
                forget(spec.folder)
        except (UserError, OSError) as error:
            forget(spec.folder)
            errors[spec.trial] = str(error)
        else:
            wanted[spec.trial] = spec.folder, models_of_trial
    failed = run_models([each for _, models in wanted.values() for each in models], screen)
    for trial, (folder, measured) in wanted.items():
        faults = [failed[spec] for spec in measured if spec in failed]
        if faults:
            errors[trial] = faults[0]
        else:
            _note(folder, write_measured(folder, measured))
    return errors


def run_models(specs: list[BenchmarkSpec], screen: Screen) -> dict[BenchmarkSpec, str]:
    """Run what the store lacks, each distinct model once; returns why some could not be.

    Ctrl-C while it waits is the reason of those that were not measured by then, and is not raised:
    a study still reports the others.
    """
    alike: dict[str, list[BenchmarkSpec]] = {}
    for spec in specs:
        alike.setdefault(results_digest(spec), []).append(spec)
    if not alike:
        return {}
    line = screen.line("benchmarks", len(alike))
    left = [same for same in alike.values() if unmeasured(same[0])]
    waiting: dict[Any, list[BenchmarkSpec]] = {_start(same[0]): same for same in left}
    failed: dict[BenchmarkSpec, str] = {}
    try:
        while waiting:
            line.update(len(alike) - len(waiting))
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            if why := _failure(done):
                failed |= dict.fromkeys(waiting[done], why)
            del waiting[done]
    except KeyboardInterrupt:
        if ray_has_died():
            raise
        for task in waiting:
            ray.cancel(task, force=True)
        failed |= {spec: INTERRUPTED for same in waiting.values() for spec in same}
    tasks = sorted({task for spec in specs for task in spec.asked.tasks})
    words = f"{len(alike)} models, {', '.join(tasks)}" + ", interrupted" * bool(waiting)
    mark = "later" if waiting else "failed" if failed else "done" if left else "reused"
    line.done(words, mark=mark)
    return failed


def _failure(task: Any) -> str | None:
    """Why a task that ended has failed; None where it has not."""
    try:
        ray.get(task)
    except Exception as error:
        if full := disk_error(error):
            raise full from None
        return refusal_of(error) or str(error).strip().rpartition("\n")[2][:400]
    return None


def _start(spec: BenchmarkSpec) -> Any:
    if spec.asked.path is not None:  # relative to this process's folder, whatever Ray's is
        path = str(Path(spec.asked.path).expanduser().resolve())
        spec = replace(spec, asked=spec.asked.model_copy(update={"path": path}))
    training = spec.config.training
    resources: dict[str, Any] = {"num_gpus": 1} if training.gpus_per_worker else {}
    return ray.remote(num_cpus=training.reserved_cpus, max_calls=1, **resources)(measure).remote(
        spec
    )


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
        if math.isfinite(row["value"]):  # JSON knows no other numbers
            by_step.setdefault(row["step"], {})[f"{row['task']}/{row['metric']}"] = row["value"]
    events = read_journal(folder)
    known = [event for event in events if event["event"] == EVENT]
    new = {
        step: values
        for step, values in by_step.items()
        if not any(event["step"] == step and event.items() >= values.items() for event in known)
    }
    if new:
        journal = Journal(folder, kept_to=max((event["step"] for event in events), default=0))
        for step, values in new.items():
            journal.write(EVENT, step, **values)
