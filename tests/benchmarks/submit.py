"""How long a submitted study takes until its first optimizer step, and where that time goes.

    python tests/benchmarks/submit.py

Starts a Ray head, and submits a study of one trial of the random tiny Llama three times by
`orchestrator submit`, each to a folder of its own and with one store: the first fills the store and
warms the machine. On a warm local cluster: no node is started, no image pulled, no model fetched.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from orchestrator.training.journal import read_journal
from tests.jobs.head import Head

SUBMISSIONS = 3
STUDY = {
    "study": "submitted",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "arrangement": {"method": "random", "rows": 4},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": 2, "learning_rate": 1e-4},
    "evaluation": {"every": 2, "measures": False},
}


def submit(head: Head, folder: Path, number: int) -> dict[str, float]:
    """Submit the study once; seconds since the command was typed, by what had happened then."""
    output = folder / f"run-{number}"
    began = time.time()
    command = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "submit", "study.yaml",
         "--output", str(output), "--set", f"store={folder / 'store'}"],
        cwd=folder, env=head.environment(), stdout=subprocess.PIPE,
    )  # fmt: skip
    assert command.stdout is not None
    command.stdout.readline()  # the job's id
    accepted = time.time()
    command.stdout.read()
    assert command.wait() == 0, "the job did not succeed"
    study = output / "submitted"
    (trial,) = (study / "trials").iterdir()
    first = {event["event"]: event for event in reversed(read_journal(trial))}
    moments = {
        "the job is accepted": accepted,
        "the driver has read the data and is on the cluster": mtime(study / "study.yaml"),
        "the plan is written": mtime(trial / "plan.parquet"),
        "the trial's process begins": first["ready"]["time"] - first["ready"]["seconds"],
        "the model is ready": first["ready"]["time"],
        "the first optimizer step is done": first["step"]["time"],
    }
    return {what: moment - began for what, moment in moments.items()}


def mtime(path: Path) -> float:
    return path.stat().st_mtime


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        head = Head(folder)
        try:
            for number in range(SUBMISSIONS):
                before = 0.0
                for what, after in submit(head, folder, number).items():
                    print(f"{after:6.1f} s (+{after - before:.1f}) {what}")
                    before = after
                print()
        finally:
            head.stop()


if __name__ == "__main__":
    main()
