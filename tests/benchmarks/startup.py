"""How long a trial takes until its first optimizer step, and where that time goes.

    python tests/benchmarks/startup.py --model smollm2-135m --output outputs

Runs three trials of two small steps through `run_study`, one after another: the first starts a
process, the others find it warm. With `--workers 2` each trial is a gang of Ray Train. Time
counts from Ray Tune's start, and from the end of the trial before. The model is resolved, and
the losses of the untouched model are measured, before: run it twice where the store is empty.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import yaml
from ray import tune

from orchestrator.config import load_study
from orchestrator.study.run import run_study
from orchestrator.training.journal import read_journal

PARTS = ("inputs", "imports", "tokens", "model", "engine")


def study_file(chosen: argparse.Namespace, folder: str) -> Path:
    data = {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    }
    study = {
        "study": "startup",
        "output": str(Path(chosen.output).resolve()),
        "data": data,
        "arrangement": {"method": "random", "rows": 4},
        "model": {"name": chosen.model},
        "training": {"global_batch": 2, "learning_rate": 1e-4, "workers": chosen.workers},
        "evaluation": {"every": 2, "measures": False},
        "sweep": {"parameters": {"seed": {"grid": [0, 1, 2]}}},
    }
    path = Path(folder) / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--output", default="outputs", help="with a store that has the model")
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args()
    began: list[float] = []
    fit = tune.Tuner.fit

    def timed_fit(tuner: tune.Tuner) -> tune.ResultGrid:
        began.append(time.time())
        return fit(tuner)

    tune.Tuner.fit = timed_fit
    finished = Path(chosen.output) / "startup"
    shutil.rmtree(finished, ignore_errors=True)  # a finished trial would not start
    with tempfile.TemporaryDirectory() as folder:
        assert run_study(load_study(study_file(chosen, folder)))
    told = [read_journal(trial) for trial in (finished / "trials").iterdir()]
    before = began[0]
    for events in sorted(told, key=lambda events: events[0]["time"]):
        first = {event["event"]: event for event in reversed(events)}
        parts = ", ".join(f"{part} {first['ready'][part]:.1f}" for part in PARTS)
        launched = first["ready"]["time"] - first["ready"]["seconds"]
        print(
            f"first step after {first['step']['time'] - before:.1f} s: Ray and the loop's imports "
            f"{launched - before:.1f}, {parts}, untouched "
            f"losses {first['measure']['time'] - first['ready']['time']:.1f}, the step "
            f"{first['step']['seconds']:.1f}"
        )
        before = events[-1]["time"]


if __name__ == "__main__":
    main()
