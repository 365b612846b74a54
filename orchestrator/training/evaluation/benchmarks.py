"""Benchmarks of lm-evaluation-harness on one model, kept in the store by the model's bytes.

Runs in a process of its own: the harness seeds every random generator and keeps what it loaded.
Not inside the training loop: with partitioned weights every rank would have to answer, and a trial
would wait for hours in which it does not train.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.config.benchmarks import Benchmarks
from orchestrator.config.schema import TrialConfig
from orchestrator.errors import ConfigError
from orchestrator.storage.artifacts import build, file_digest, find, key_digest, sound
from orchestrator.storage.files import BENCHMARKS_FILE, BENCHMARKS_SCHEMA
from orchestrator.training.evaluation.task_files import code_faults

BENCHMARKS_VERSION = 1
KIND = "benchmarks"  # of the store
PACKAGE = "lm_eval"


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class BenchmarkSpec:
    """One model to be measured.

    Attributes:
        name: what errors call it.
        step: after which it stands.
        asked: the benchmarks.
        config: of its trial, whose arithmetic and attention it is measured in.
        model: its folder, or that of the model that its adapter belongs to.
        adapter: folder of the adapter; None for none.
        digest: of the bytes of both.
        store: takes the results.
    """

    name: str
    step: int
    asked: Benchmarks
    config: TrialConfig
    model: Path
    adapter: Path | None
    digest: str
    store: Path


def check_tasks(asked: Benchmarks) -> None:
    """Refuse benchmarks that cannot be run, or whose files ask for code that is not trusted.

    Raises:
        ConfigError: all that is wrong.
    """
    try:
        version(PACKAGE)
    except ModuleNotFoundError:
        raise ConfigError(
            ["evaluation.benchmarks needs lm-evaluation-harness, which is not installed: pip "
             "install 'arrangement-orchestrator[benchmarks]'"]
        ) from None  # fmt: skip
    from lm_eval.api import metrics, registry  # noqa: F401 - the first fills the second

    folder = _folder(asked)
    faults = []
    if folder is not None and not folder.is_dir():
        faults.append(f"evaluation.benchmarks.path: {folder} is no folder")
    elif folder is not None and not asked.trust_code:
        faults += [
            f"evaluation.benchmarks.path: {fault}. If you have read it and trust it, set "
            "evaluation.benchmarks.trust_code to true"
            for fault in code_faults(folder, set(registry.metric_registry))
        ]
    if not faults:
        known = set(_task_manager(asked).all_tasks)
        faults = [
            f"evaluation.benchmarks.tasks: {task!r} is no task of lm-evaluation-harness "
            f"{version(PACKAGE)}, nor of evaluation.benchmarks.path: `lm-eval ls tasks` lists them"
            for task in asked.tasks
            if task not in known
        ]
    if faults:
        raise ConfigError(faults)


def unmeasured(spec: BenchmarkSpec) -> list[str]:
    """The tasks that the store has no result of."""
    keys = {task: _key(spec, task) for task in spec.asked.tasks}
    return [task for task, key in keys.items() if not _stored(spec.store, key)]


def results_digest(spec: BenchmarkSpec) -> str:
    """The same of two specs whose results are the same ones in the store."""
    return key_digest([_key(spec, task) for task in spec.asked.tasks])


def shared_settings(asked: Benchmarks, config: TrialConfig) -> dict[str, Any]:
    """What determines results besides task and model: a batch's size moves them by rounding."""
    folder = _folder(asked)
    settings = config.model.model_dump(mode="json", include={"precision", "attention", "adapter"})
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    return {
        "version": BENCHMARKS_VERSION,
        "harness": version(PACKAGE),
        "limit": asked.limit,
        "settings": settings,
        "gpu": config.training.gpus_per_worker > 0,
        "files": key_digest(
            {
                str(path.relative_to(folder)): file_digest(path)
                for path in files
                if folder and "__pycache__" not in path.parts
            }
        ),
    }


def measure(spec: BenchmarkSpec) -> None:
    """Run the tasks that the store has no result of; one process, in which nothing else runs."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    from orchestrator.training.device import pick_device
    from orchestrator.training.model import load_model

    asked, config = spec.asked, spec.config
    device = pick_device(config.model.precision, gpu=config.training.gpus_per_worker > 0)
    module = load_model(spec.model, config.model, device, trained_adapter=spec.adapter)
    tokenizer = AutoTokenizer.from_pretrained(spec.adapter or spec.model, trust_remote_code=False)
    model: Any = HFLM(pretrained=module.eval(), tokenizer=tokenizer, batch_size=asked.batch_size)
    if not asked.trust_code:
        _use_sandbox()
    manager = _task_manager(asked)
    for task in unmeasured(spec):
        with contextlib.chdir(_folder(asked) or Path.cwd()):
            found = simple_evaluate(
                model, tasks=[task], task_manager=manager, limit=asked.limit, log_samples=False
            )
        table = pa.Table.from_pylist(list(_rows(task, found)), schema=BENCHMARKS_SCHEMA)
        build(spec.store, KIND, _key(spec, task), partial(_write, table))


def measured_table(spec: BenchmarkSpec) -> pa.Table:
    """All results of a model that `measure` left in the store, as `BENCHMARKS_SCHEMA`."""
    tables = []
    for task in spec.asked.tasks:
        artifact = find(spec.store, KIND, _key(spec, task))
        assert artifact is not None, "every task was measured"
        table = pq.read_table(artifact.path / BENCHMARKS_FILE)
        step = pa.array([spec.step] * len(table), pa.int32())
        tables.append(table.set_column(0, "step", step))
    return pa.concat_tables(tables)


def _write(table: pa.Table, folder: Path) -> None:
    pq.write_table(table, folder / BENCHMARKS_FILE)


def headlines(table: pa.Table) -> pa.Table:
    """The lines of the benchmarks themselves: of a group its own, of a tag those of its tasks."""
    rows = table.to_pylist()
    own = {row["benchmark"] for row in rows if row["task"] == row["benchmark"]}
    kept = [row["task"] == row["benchmark"] or row["benchmark"] not in own for row in rows]
    return table.filter(pa.array(kept, pa.bool_()))


def _rows(benchmark: str, found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the harness says of a benchmark: a line for each metric of it and of what it is made of.

    Metrics stand there as "acc,none" and "acc_stderr,none": after the comma the name of a filter.
    """
    better = found["higher_is_better"]
    for task, values in {**found["results"], **found.get("groups", {})}.items():
        for key, value in values.items():
            metric, comma, answer_filter = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{answer_filter}")
            counts = values.get("sample_count") or {}
            yield {
                "benchmark": benchmark,
                "task": task,
                "metric": metric if answer_filter == "none" else key,
                "value": float(value),
                "stderr": float(error) if isinstance(error, int | float) else None,
                "n": counts.get(key, values.get("sample_len")),
                "higher_is_better": better.get(task, {}).get(metric),
            }


def _key(spec: BenchmarkSpec, task: str) -> dict[str, Any]:
    """All that determines a result."""
    return {**shared_settings(spec.asked, spec.config), "model": spec.digest, "task": task}


def _stored(store: Path, key: Any) -> bool:
    artifact = find(store, KIND, key)
    return artifact is not None and sound(artifact.path)


def _folder(asked: Benchmarks) -> Path | None:
    return None if asked.path is None else Path(asked.path).expanduser().resolve()


def _task_manager(asked: Benchmarks) -> Any:
    """The index of tasks; the harness's own thousands are read only where one of them is asked."""
    from lm_eval.tasks import TaskManager

    folder = _folder(asked)
    if folder is not None:
        own = TaskManager(include_path=str(folder), include_defaults=False)
        if set(asked.tasks) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=None if folder is None else str(folder))


def _use_sandbox() -> None:
    """Let templates of tasks reach nothing but the fields of an item."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    sandbox = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters |= utils.env.filters
    utils.env = sandbox
