"""What a sweep of small trials costs beside the training itself, against a bare loop of processes.

    python tests/benchmarks/sweep.py

Runs a study of twelve trials of a random tiny Llama through `run_study`, then the same specs one
after the other, each in a process of its own that only imports the loop and runs it. Overhead is
the share of the time from the first trial's start to the last one's end that is neither an
optimizer step nor a measurement. Both start with the same plans, tokens and untouched losses, and
end with the same losses; that is checked.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from orchestrator.config import load_study
from orchestrator.study import run as study_module
from orchestrator.training.journal import read_journal
from orchestrator.training.loop import run_trial
from orchestrator.training.spec import TrialSpec


def study_file(folder: Path, trials: int, rows: int) -> Path:
    data = {
        split: {"reader": "builtin", "split": split, "max_per_task": 4}
        for split in ("pool", "query")
    }
    study = {
        "study": "overhead",
        "output": str(folder / "outputs"),
        "data": data,
        "arrangement": {"method": "random", "rows": rows},
        "model": {"name": "random:tiny-llama"},
        "training": {"global_batch": 4, "learning_rate": 1e-3},
        "evaluation": {"every": 10, "measures": False},
        "sweep": {"parameters": {"seed": {"grid": list(range(trials))}}},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def trained(specs: list[TrialSpec]) -> float:
    """Seconds in optimizer steps and measurements."""
    events = (event for spec in specs for event in read_journal(spec.folder))
    return sum(event["seconds"] for event in events if event["event"] in ("step", "measure"))


def told(name: str, wall: float, specs: list[TrialSpec]) -> None:
    work = trained(specs)
    print(
        f"{name:<28} {wall:6.1f} s, training {work:5.1f} s, overhead {1 - work / wall:.0%}, "
        f"{(wall - work) / len(specs):.2f} s a trial",
        flush=True,
    )


def sweep(path: Path) -> list[TrialSpec]:
    """Run the study; prints the time of the whole command and of its trials."""
    run_trials, seen = study_module.run_trials, {}

    def timed(study, trials, screen, storage):
        began = time.monotonic()
        errors = run_trials(study, trials, screen, storage)
        seen.update(specs=trials.specs, seconds=time.monotonic() - began)
        return errors

    study_module.run_trials = timed
    began = time.monotonic()
    assert study_module.run_study(load_study(path))
    whole = time.monotonic() - began
    told("sweep, the whole command", whole, seen["specs"])
    told("sweep, its trials", seen["seconds"], seen["specs"])
    return seen["specs"]


def bare_loop(specs: list[TrialSpec], folder: Path) -> list[TrialSpec]:
    """The same specs in processes of their own."""
    copies = []
    for spec in specs:
        copy = replace(spec, folder=folder / "bare" / spec.trial)
        copy.folder.mkdir(parents=True)
        shutil.copy(spec.folder / "plan.parquet", copy.folder)
        copies.append(copy)
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": str(os.cpu_count())}
    began = time.monotonic()
    for copy in copies:
        (folder / "spec.pickle").write_bytes(pickle.dumps(copy))
        command = [sys.executable, __file__, "--spec", str(folder / "spec.pickle")]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    told("bare loop of processes", time.monotonic() - began, copies)
    return copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rows", type=int, default=120, help="of each trial; four a step")
    parser.add_argument("--spec", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.spec:
        return run_trial(pickle.loads(chosen.spec.read_bytes()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        specs = sweep(study_file(folder, chosen.trials, chosen.rows))
        for spec, copy in zip(specs, bare_loop(specs, folder), strict=True):
            losses = [pq.read_table(each.folder / "losses.parquet") for each in (spec, copy)]
            assert losses[0].equals(losses[1]), f"{spec.trial} has other losses"
        print("all losses are equal")


if __name__ == "__main__":
    main()
