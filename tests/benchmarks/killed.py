"""Whether a sweep that is killed again and again ends as one that was left alone.

    python tests/benchmarks/killed.py --kills 10 --seed 0
    python tests/benchmarks/killed.py --kills 10 --search

Runs a sweep of random tiny models once undisturbed, and once in another folder, where SIGKILL ends
the driver and all processes that it started (Ray's and the gangs' too) at moments drawn evenly over
the whole sweep, until the kills are used up; then compares what the two left behind, in
their folders and in MLflow. Not for a kill at one certain line: `tests/training/test_resume.py`
and `tests/tracking` place those.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from orchestrator.storage.files import CHECKPOINTS_FOLDER, RESULT_FILE, RESULT_TABLES, SEARCH_FILE
from orchestrator.tracking.mirror import FILES_TAG, RUN_TAG, STUDY_TAG
from orchestrator.tracking.record import PARENT
from orchestrator.training.journal import read_journal
from tests.studies import files_beside

COMMAND = [sys.executable, "-m", "orchestrator.cli"]
BATCH = 2
ARMS = [
    {"label": "nearest", "arrangement.order": "nearest_first"},
    {"label": "farthest", "arrangement.order": "farthest_first"},
    {"label": "random", "arrangement.order": "random"},
    # So that Ray Train's workers are killed as well.
    {"label": "gang", "training.workers": 2, "training.zero_stage": 2},
    {"label": "tasks", "arrangement.granularity": "task"},
    {"label": "clusters", "arrangement.granularity": {"clusters": 8}},
]
SEARCHED = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "arrangement.order": {"choice": ["nearest_first", "farthest_first"]},
}
# What no two runs share: the clock, and names that are drawn or digest what the clock told.
TIMED = {"seconds", "tokens_per_second", "step_seconds", "step_tokens_per_second"}
DRAWN_TAGS = {STUDY_TAG, FILES_TAG, MLFLOW_PARENT_RUN_ID}


def study_file(folder: Path, trials: int, steps: int, search: bool) -> Path:
    """A study of so many trials, each of so many steps."""
    most = {"pool": 10, "query": 2, "held_out": 1}
    checkpoint = {"every": steps // 10}
    searched = {"search": {"type": "optuna"}, "samples": trials, "parameters": SEARCHED}
    study = {
        "study": "killed",
        "data": {
            split: {"reader": "builtin", "split": split, "max_per_task": n}
            for split, n in most.items()
        },
        "embedding": {"model": "random:tiny-bert"},
        "arrangement": {"selection": "both_ends", "rows": steps * BATCH},
        "model": {"name": "random:tiny-llama"},
        "training": {"global_batch": BATCH, "learning_rate": 1e-3, "checkpoint": checkpoint},
        "evaluation": {"every": steps // 4},
        "sweep": searched if search else {"paired": [ARMS[:trials]]},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def orchestrate(path: Path, output: Path, seconds: float | None = None) -> tuple[bool, float, str]:
    """Run the study to its end, or kill it after so many seconds.

    Returns:
        (whether it was killed, the seconds that it ran, the last line of its screen).
    """
    screen = path.with_suffix(".screen")
    began = time.monotonic()
    with screen.open("wb") as sink:
        process = subprocess.Popen(
            [*COMMAND, "run", str(path), "--output", str(output)],
            stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:
        if process.returncode is None:
            kill(process)
    killed = process.returncode == -signal.SIGKILL  # not if it ended just before
    text = screen.read_text()
    assert killed or process.returncode == 0, text
    line = text.strip().rpartition("\n")[2].strip() or "before its first line"
    return killed, time.monotonic() - began, line


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a study's driver and to every process that it started, and to no other."""
    noted = set(psutil.Process(process.pid).children(recursive=True))  # also of other sessions
    process.kill()
    # The driver is reaped last: until then no other session can have its number.
    while left := [each for each in psutil.process_iter() if _started(each, process.pid, noted)]:
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        time.sleep(0.05)
    process.wait()


def _started(process: psutil.Process, session: int, noted: set[psutil.Process]) -> bool:
    """Whether a process is one of a study's, and still runs."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        of_study = process in noted or os.getsid(process.pid) == session
        return of_study and process.status() != psutil.STATUS_ZOMBIE
    return False


def seconds_left(whole: float, undisturbed: Path, disturbed: Path) -> float:
    """What the disturbed study still takes, where the undisturbed one took `whole`."""
    left = whole
    for folder in undisturbed.glob("killed/trials/*"):
        times = [event["time"] for event in read_journal(folder)]
        steps = pq.read_metadata(folder / "train_log.parquet").num_rows
        kept = _steps_kept(disturbed / "killed" / "trials" / folder.name, steps)
        left -= (times[-1] - times[0]) * kept / steps
    return left


def _steps_kept(trial: Path, steps: int) -> int:
    """From where a trial would continue; all of its steps once it finished."""
    if (trial / RESULT_FILE).is_file():
        return steps
    saved = (trial / CHECKPOINTS_FOLDER).glob("step-*")
    return max((int(path.name.removeprefix("step-")) for path in saved), default=0)


def disturb(
    path: Path, whole: float, undisturbed: Path, disturbed: Path, kills: int, shares: random.Random
) -> None:
    """Run the study in `disturbed` with so many kills, and once more to its end.

    Args:
        whole: seconds of the undisturbed run.
        shares: draws the moments.
    """
    before, pace = disturbed.with_name("before"), 1.0
    while kills:
        left = pace * seconds_left(whole, undisturbed, disturbed)
        _copy(disturbed, before)
        # The first of so many moments drawn evenly over what is left.
        share = 1 - shares.random() ** (1 / kills)
        killed, seconds, line = orchestrate(path, disturbed, share * left)
        how = "killed" if killed else "undone, it ended before its kill"
        print(f"{how} after {seconds:.1f} of {left:.1f} s: {line}", flush=True)
        if killed:
            kills -= 1
        else:
            _copy(before, disturbed)
            pace *= seconds / left  # this machine's other work changes
    _, seconds, _ = orchestrate(path, disturbed)
    print(f"ended after {seconds:.1f} s", flush=True)


def _copy(source: Path, target: Path) -> None:
    """Make a folder equal to another, also where that one is not there."""
    shutil.rmtree(target, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)


def left_behind(output: Path) -> dict[str, Any]:
    """All in which two runs of one study agree, by name."""
    folder = output / "killed"
    with (folder / "summary.csv").open(newline="") as file:
        rows = [_untimed(row) for row in csv.DictReader(file)]
    facts: dict[str, Any] = {"summary.csv": rows}
    if (folder / SEARCH_FILE).is_file():
        facts[SEARCH_FILE] = (folder / SEARCH_FILE).read_bytes()
    for trial in (row["trial"] for row in rows):
        for name in RESULT_TABLES:
            lines = pq.read_table(folder / "trials" / trial / name).to_pylist()
            facts[f"{name} of {trial}"] = [_untimed(line) for line in lines]
    verify = [*COMMAND, "verify", str(folder)]
    verified = subprocess.run(verify, check=False, capture_output=True, text=True)
    facts["certificates"] = (verified.returncode, verified.stdout.count("proved"))
    return facts | in_mlflow(output)


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMED}


def in_mlflow(output: Path) -> dict[str, Any]:
    """Each run as MLflow holds it, and the keys of all runs: deleted ones count."""
    client = MlflowClient(f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("killed")
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)
    keys = {run.info.run_id: run.data.tags[RUN_TAG] for run in runs}
    facts: dict[str, Any] = {"keys of MLflow's runs": sorted(keys.values())}
    for run in runs:
        tags, points = run.data.tags, {}
        for metric in run.data.metrics:
            history = client.get_metric_history(run.info.run_id, metric)
            points[metric] = sorted((x.step, 0 if metric in TIMED else x.value) for x in history)
        facts[f"MLflow's run {run.info.run_name}"] = {
            "status": run.info.status,
            "parent": keys.get(tags.get(MLFLOW_PARENT_RUN_ID)),
            "params": run.data.params,
            "tags": {name: text for name, text in tags.items() if name not in DRAWN_TAGS},
            "datasets": [each.dataset.digest for each in run.inputs.dataset_inputs],
            "points": points,
            "files": sorted(files_beside(output, run)),
        }
    return facts


def faults(undisturbed: dict[str, Any], disturbed: dict[str, Any], trials: int) -> list[str]:
    """What is wrong with what a disturbed study left behind; both by `left_behind`."""
    names = sorted(undisturbed.keys() | disturbed.keys())
    found = [f"{name} differs" for name in names if undisturbed.get(name) != disturbed.get(name)]
    if disturbed["certificates"] != (0, trials):
        found.append("not every order is proved")
    keys = disturbed["keys of MLflow's runs"]
    if len(keys) != trials + 1 or len(set(keys)) != len(keys):
        found.append(f"MLflow holds {len(keys)} runs, {len(set(keys))} of them different")
    runs = {name: run for name, run in disturbed.items() if name.startswith("MLflow's run ")}
    if sum(run["parent"] == PARENT for run in runs.values()) != trials:
        found.append("MLflow's parent run has not one child for each trial")
    for name, run in runs.items():
        if run["status"] != "FINISHED":
            found.append(f"{name} is {run['status']}")
        for metric, points in run["points"].items():
            if len({step for step, _ in points}) < len(points):
                found.append(f"{name} has a step of {metric} twice")
    return found


def compare(
    folder: Path, trials: int, steps: int, kills: int, seed: int, search: bool = False
) -> list[str]:
    """Run the sweep undisturbed and disturbed in a folder; returns `faults`."""
    path = study_file(folder, trials, steps, search)
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    _, whole, _ = orchestrate(path, undisturbed)
    print(f"undisturbed {whole:.1f} s", flush=True)
    disturb(path, whole, undisturbed, disturbed, kills, random.Random(seed))
    return faults(left_behind(undisturbed), left_behind(disturbed), trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--search", action="store_true", help="optuna chooses the trials")
    chosen = parser.parse_args()
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="killed-"))
    found = compare(folder, len(ARMS), 200, **vars(chosen))
    print(*found, sep="\n")
    print(f"{chosen.kills} kills, {len(found)} faults, {time.monotonic() - began:.0f} s in all")
    if found:
        sys.exit(f"{folder} keeps both for a closer look")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
