"""What earlier studies took on such hardware, as their folders and the store tell.

Of trials that finished: what a trained token, a measured test item and an answered one took; of
vectors: how many rows a second. Such hardware has the processor, cores and GPUs of this machine, as
`run.json` names them, which is the driver's: a cluster of other nodes is not told apart. Artifacts
of the store do not tell where they were made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from orchestrator.config import TrialConfig
from orchestrator.config.training import Training
from orchestrator.estimate.speed import is_named
from orchestrator.estimate.stored import StoreLookup
from orchestrator.host.share import threads_of
from orchestrator.provenance import hardware
from orchestrator.storage.artifacts import MANIFEST, read_manifest
from orchestrator.storage.files import (
    CONFIG_FILE,
    GENERATIONS_FILE,
    LOSSES_FILE,
    RESULT_FILE,
    RUN_FILE,
    STUDY_FILE,
    TRAIN_LOG_FILE,
    TRIALS_FOLDER,
)
from orchestrator.training.journal import read_journal

ALIKE = 8  # newest trials that computed alike: more make a mean no better
# What the pace of a trial hangs on, beside its hardware and its tokens.
OF_PACE = {
    "model": ("name", "revision", "adapter", "precision", "attention", "gradient_checkpointing",
              "compile", "liger"),
    "training": ("workers", "cpus_per_worker", "gpus_per_worker", "micro_batch_tokens",
                 "zero_stage", "offload", "optimizer"),
}  # fmt: skip
OF_VECTORS = ("model", "pooling", "dtype", "workers", "gpus_per_worker")


@dataclass(frozen=True)
class Pace:
    """What trials that computed alike took.

    Attributes:
        trials: how many.
        token: seconds of a trained token, prompt or answer.
        item: of a test item that is measured; None where none was after step 0.
        answer: of a test item that is answered; likewise.
        start: of all of a trial beside its steps and evaluations.
    """

    trials: int
    token: float
    item: float | None
    answer: float | None
    start: float


class Earlier:
    """Answers for the trials of a study from what stands beside it.

    Args:
        output: folder of studies.
        gpu: part of a GPU's name: such hardware is then any machine with GPUs of that name.
    """

    def __init__(self, output: Path, gpu: str | None = None) -> None:
        self._runs = list(_runs(output, gpu))
        self._paces: dict[str, Pace | None] = {}

    def pace(self, config: TrialConfig, at_once: int) -> Pace | None:
        """What trials took that computed as this one will; None where there are none.

        Args:
            config: of the trial.
            at_once: trials of its study that run at once, which share the cores.
        """
        wanted = _part(config.model_dump(mode="json"), OF_PACE)
        key = json.dumps([wanted, at_once])
        if key not in self._paces:
            folders = [
                folder
                for study, run in self._runs
                if _as_many_threads(config.training, at_once, study, run)
                for folder in sorted((study / TRIALS_FOLDER).glob("*"))
                if _was_trained(folder) and _part(_yaml(folder / CONFIG_FILE), OF_PACE) == wanted
            ]
            self._paces[key] = _pace(folders[:ALIKE])
        return self._paces[key]

    def vector_rate(self, config: TrialConfig, store: StoreLookup) -> float | None:
        """Rows of the pool and of test sets whose vectors were made in a second, by these settings;
        else on cores as an artifact of the store tells; None where none were."""
        keys, embedding = {"embedding": OF_VECTORS}, config.embedding
        wanted = _part(config.model_dump(mode="json"), keys)
        for study, run in self._runs:
            for made in run.get("embeddings", []):
                folder = study / TRIALS_FOLDER / made["trials"][0]
                if made.get("rate") and _part(_yaml(folder / CONFIG_FILE), keys) == wanted:
                    return float(made["rate"])
        if embedding.gpus_per_worker:
            return None
        return _stored_rate(embedding.model, embedding.pooling, store)


def _stored_rate(name: str, pooling: str, store: StoreLookup) -> float | None:
    """Rows a second whose vectors were made of a model, by an artifact of the store."""
    model = store.fingerprint(name)
    for made in _manifests(store.root, "embeddings"):
        rate, vectors = made["info"].get("rate"), made["key"].get("vectors")
        if model and rate and vectors and _made_by(vectors, store) == (model[1], pooling):
            return float(rate)
    return None


def _made_by(vectors: Mapping[str, Any], store: StoreLookup) -> tuple[str, str] | None:
    """Digest of the model that vectors are of, and their pooling, by their part of a key; None
    where the store lost the adapters that they were made with."""
    if "model" in vectors:
        return vectors["model"], vectors["pooling"]
    gradient = "warm_up" in vectors
    kind, digest = (
        ("warm_up", vectors["warm_up"]) if gradient else ("target_path", vectors["paths"])
    )
    adapters = read_manifest(store.root / kind / digest[:16])
    if adapters is None:
        return None
    return adapters["key"]["model"], "gradient" if gradient else "path"


def influence_rate(config: TrialConfig, store: StoreLookup) -> float | None:
    """Rows a second whose gradients were made on cores of the model of a trial, by an artifact of
    the store; None where there is none, and for GPUs, on which it may not have been."""
    if config.embedding.gpus_per_worker:
        return None
    model = store.fingerprint(config.model.reference)
    for made in _manifests(store.root, "influence"):
        rate, by = made["info"].get("rate"), _made_by(made["key"]["vectors"], store)
        if model and rate and by and by[0] == model[1]:
            return float(rate)
    return None


def query_losses_rate(config: TrialConfig, store: StoreLookup) -> float | None:
    """Test items a second that the untouched model of a trial was measured on, its loading with
    it, by an artifact of the store; None where there is none."""
    model = store.fingerprint(config.model.reference)
    gpu = config.training.gpus_per_worker > 0
    for made in _manifests(store.root, "query_losses"):
        if model and (made["key"]["model"], made["key"]["gpu"]) == (model[1], gpu):
            folder = store.root / "query_losses" / made["digest"][:16]
            seconds = json.loads((folder / RESULT_FILE).read_bytes())["seconds"]
            return float(pq.read_metadata(folder / LOSSES_FILE).num_rows / seconds)
    return None


def _runs(output: Path, gpu: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders of studies on such hardware with their run.json, the newest first."""
    files = sorted(output.glob(f"*/{RUN_FILE}"), key=lambda file: -file.stat().st_mtime)
    for file in files:
        run = json.loads(file.read_bytes())
        ran_on = run.get("hardware", {})
        if gpu is None:
            here = hardware()
            alike = all(ran_on.get(name) == here[name] for name in ("cpu", "cores", "gpus"))
        else:
            alike = any(is_named(name, gpu) for name in ran_on.get("gpus", []))
        if alike:
            yield file.parent, run


def _manifests(root: Path, kind: str) -> Iterator[dict[str, Any]]:
    for file in sorted((root / kind).glob(f"*/{MANIFEST}")):
        if manifest := read_manifest(file.parent):
            yield manifest


def _was_trained(trial: Path) -> bool:
    """Whether a trial finished by itself: the journal of a twin tells of another one."""
    try:
        return "twin_of" not in json.loads((trial / RESULT_FILE).read_bytes())
    except (OSError, ValueError):
        return False


def _as_many_threads(training: Training, at_once: int, study: Path, run: Mapping[str, Any]) -> bool:
    """Whether such ranks had in an earlier study the threads that they will have, if all trials of
    a study have as many ranks. Of ranks on GPUs that is not asked.

    Args:
        training: of a trial.
        at_once: trials that will run at once.
        study: folder of the earlier study; `run`: what its run.json says.
    """
    if training.gpus_per_worker:
        return True
    before = _yaml(study / STUDY_FILE).get("sweep", {}).get("max_concurrent", 1)
    now, then = (
        threads_of(training.workers * trials, training.cpus_per_worker, run["hardware"]["cores"])
        for trials in (at_once, before)
    )
    return now == then


def _yaml(file: Path) -> dict[str, Any]:
    """What a study or trial wrote of its settings; empty where the file is gone."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    loaded: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    return loaded


def _part(config: Mapping[str, Any], keys: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Some keys of some sections; a key that an older file lacks is None."""
    return {
        section: [config.get(section, {}).get(key) for key in names]
        for section, names in keys.items()
    }


def _pace(trials: list[Path]) -> Pace | None:
    """What trials that finished took together; None of none."""
    if not trials:
        return None
    tokens = seconds = 0.0
    counted, took = {"measure": 0, "generate": 0}, {"measure": 0.0, "generate": 0.0}
    whole = 0.0
    for folder in trials:
        log = pq.read_table(folder / TRAIN_LOG_FILE, columns=["tokens", "seconds"])
        tokens += pc.sum(log["tokens"]).as_py()
        seconds += pc.sum(log["seconds"]).as_py()
        whole += json.loads((folder / RESULT_FILE).read_bytes())["seconds"]
        for kind, file in (("measure", LOSSES_FILE), ("generate", GENERATIONS_FILE)):
            # What the untouched model loses is found in the store, or measured for all trials.
            first = 1 if kind == "measure" else 0
            if (folder / file).is_file():
                steps = pq.read_table(folder / file, columns=["step"])["step"]
                counted[kind] += pc.sum(pc.greater_equal(steps, first)).as_py() or 0
            took[kind] += sum(
                event["seconds"]
                for event in read_journal(folder)
                if event["event"] == kind and event["step"] >= first
            )
    item, answer = (took[kind] / counted[kind] if counted[kind] else None for kind in counted)
    start = max(0.0, whole - seconds - sum(took.values())) / len(trials)
    return Pace(len(trials), seconds / tokens, item, answer, start)
