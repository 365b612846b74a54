"""Whether a sweep that is disturbed again and again ends as one that was left alone.

    python tests/benchmarks/soak.py --faults 50
    python tests/benchmarks/soak.py --faults 10 --kinds kill --search

Runs a sweep of random tiny models once undisturbed, and once in another folder with faults at
moments drawn evenly over the whole sweep, until they are used up; then compares what the two left
behind, in their folders and in MLflow. Of the faults

- `kill` ends the driver and all processes that it started (Ray's and the gangs' too) by SIGKILL;
- `rank` ends one rank of a trial likewise, `freeze` stops one by SIGSTOP that has given a sign of
  life (one that has not, Ray ends after minutes): the same run goes on;
- `disk` fills the disk that the study writes to: the run ends by itself, then there is room again.

Where `disk` is among them, the disturbed study lies on a small tmpfs of its own, which needs root.
Not for a fault at one certain line: `tests/training/test_resume.py`, `tests/tracking`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import yaml
from left_behind import COMMAND, differences, left_behind

from orchestrator.storage.files import CHECKPOINTS_FOLDER, RESULT_FILE
from orchestrator.training.heartbeat import read_heartbeats
from orchestrator.training.journal import read_journal

KINDS = ["kill", "rank", "freeze", "disk"]
STEPS, BATCH = 200, 2
HANG_SECONDS = 5  # beyond the longest step
DISK = "512m"
ENDS_WITHIN = 120  # seconds, of a run whose disk is full
ARMS = [
    {"label": "nearest", "arrangement.order": "nearest_first"},
    {"label": "farthest", "arrangement.order": "farthest_first"},
    {"label": "random", "arrangement.order": "random"},
    # So that Ray Train's workers meet faults as well.
    {"label": "gang", "training.workers": 2, "training.zero_stage": 2},
    {"label": "tasks", "arrangement.granularity": "task"},
    {"label": "clusters", "arrangement.granularity": {"clusters": 8}},
]
SEARCHED = {
    "training.learning_rate": {"loguniform": [1e-4, 1e-2]},
    "arrangement.order": {"choice": ["nearest_first", "farthest_first"]},
}


def study_file(folder: Path, retries: int, search: bool) -> Path:
    """A study of a trial an arm, each of `STEPS` steps."""
    most = {"pool": 10, "query": 2, "held_out": 1}
    searched = {"search": {"type": "optuna"}, "samples": len(ARMS), "parameters": SEARCHED}
    study = {
        "study": "soak",
        "data": {
            split: {"reader": "builtin", "split": split, "max_per_task": n}
            for split, n in most.items()
        },
        "embedding": {"model": "random:tiny-bert"},
        "arrangement": {"selection": "both_ends", "rows": STEPS * BATCH},
        "model": {"name": "random:tiny-llama"},
        "training": {
            "global_batch": BATCH,
            "learning_rate": 1e-3,
            "checkpoint": {"every": STEPS // 10},
            "hang_timeout": HANG_SECONDS,
        },
        "evaluation": {"every": STEPS // 4},
        "sweep": (searched if search else {"paired": [ARMS]}) | {"failure_retries": retries},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


class Run:
    """One process of `orchestrator run`, and all that it starts."""

    def __init__(self, path: Path, output: Path) -> None:
        self.screen = path.with_suffix(".screen")
        self.began = time.monotonic()
        with self.screen.open("wb") as sink:
            self.process = subprocess.Popen(
                [*COMMAND, "run", str(path), "--output", str(output)],
                stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def ended(self, seconds: float | None = None) -> bool:
        """Whether it ends within so many seconds; None waits for it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    @property
    def text(self) -> str:
        return self.screen.read_text()

    @property
    def line(self) -> str:
        """The last one of its screen."""
        return self.text.strip().rpartition("\n")[2].strip() or "before its first line"

    def ranks(self) -> list[psutil.Process]:
        """The processes of a trial that train: Ray Train's workers, or else the trial's own."""
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            for kind in ("ray::RayTrain", "ray::Impl"):
                if found := [each for each in below if _name(each).startswith(kind)]:
                    return found
        return []

    def kill(self) -> None:
        """SIGKILL to the driver and to every process that it started, and to no other."""
        noted = set(psutil.Process(self.process.pid).children(recursive=True))
        self.process.kill()
        # The driver is reaped last: until then no other session can have its number.
        while left := [each for each in psutil.process_iter() if self._started(each, noted)]:
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            time.sleep(0.05)
        self.process.wait()

    def _started(self, process: psutil.Process, noted: set[psutil.Process]) -> bool:
        """Whether a process is one of the study's, and still runs; some have another session."""
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            of_study = process in noted or os.getsid(process.pid) == self.process.pid
            return of_study and process.status() != psutil.STATUS_ZOMBIE
        return False


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def seconds_left(whole: float, undisturbed: Path, disturbed: Path) -> float:
    """What the disturbed study still takes, where the undisturbed one took `whole`."""
    left = whole
    for folder in undisturbed.glob("soak/trials/*"):
        times = [event["time"] for event in read_journal(folder)]
        steps = pq.read_metadata(folder / "train_log.parquet").num_rows
        kept = _steps_kept(disturbed / "soak" / "trials" / folder.name, steps)
        left -= (times[-1] - times[0]) * kept / steps
    return left


def _steps_kept(trial: Path, steps: int) -> int:
    """From where a trial would continue; all of its steps once it finished."""
    if (trial / RESULT_FILE).is_file():
        return steps
    saved = (trial / CHECKPOINTS_FOLDER).glob("step-*")
    return max((int(path.name.removeprefix("step-")) for path in saved), default=0)


def disturb(path: Path, whole: float, undisturbed: Path, disturbed: Path, kinds: list[str],
            draws: random.Random) -> None:  # fmt: skip
    """Run the study in `disturbed` with these faults, and once more to its end.

    Args:
        whole: seconds of the undisturbed run.
        draws: the moments, and which rank.
    """
    before, pace = disturbed.with_name("before"), 1.0
    waiting, met = list(reversed(kinds)), []  # met: by the run that goes on now
    run = None
    while waiting:
        if run is None:
            _copy(disturbed, before)
            run, met = Run(path, disturbed), []
        left = pace * seconds_left(whole, undisturbed, disturbed)
        # The first of so many moments drawn evenly over what is left.
        moment = (1 - draws.random() ** (1 / len(waiting))) * left
        if run.ended(moment):
            assert run.process.returncode == 0, run.text
            print(f"undone, it ended before its {waiting[-1]} in {moment:.1f} s", flush=True)
            waiting += reversed(met)
            _copy(before, disturbed)
            pace *= 0.8  # this machine's other work changes
            run = None
            continue
        kind = waiting[-1]
        if not FAULTS[kind](run, disturbed, draws):
            continue  # no rank trains at the moment: drawn anew
        seconds = time.monotonic() - run.began
        print(f"{kind} at {seconds:.1f} s, with {left:.1f} s left: {run.line}", flush=True)
        met.append(waiting.pop())
        run = None if run.process.returncode is not None else run
    run = run or Run(path, disturbed)
    run.ended()
    assert run.process.returncode == 0, run.text
    print(f"ended after {time.monotonic() - run.began:.1f} s", flush=True)


def _kill(run: Run, _output: Path, _draws: random.Random) -> bool:
    run.kill()
    return True


def _end_rank(run: Run, _output: Path, draws: random.Random) -> bool:
    return _signal_one(run.ranks(), signal.SIGKILL, draws)


def _freeze_rank(run: Run, output: Path, draws: random.Random) -> bool:
    watched = {
        heartbeat.pid
        for trial in output.glob("soak/trials/*")
        for heartbeat in read_heartbeats(trial)
    }
    ranks = [each for each in run.ranks() if each.pid in watched]
    return _signal_one(ranks, signal.SIGSTOP, draws)


def _signal_one(ranks: list[psutil.Process], number: signal.Signals, draws: random.Random) -> bool:
    """Send a signal to one of them; False where there is none that runs."""
    with suppress(psutil.NoSuchProcess):
        running = [each for each in ranks if each.status() != psutil.STATUS_STOPPED]
        if running:
            draws.choice(running).send_signal(number)
            return True
    return False


def _fill_disk(run: Run, output: Path, _draws: random.Random) -> bool:
    filler = output / "filler"
    free = shutil.disk_usage(output).free
    with filler.open("wb") as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, free)
    assert run.ended(ENDS_WITHIN), f"it still runs on a full disk: {run.text}"
    assert "Traceback" not in run.text, run.text
    filler.unlink()
    return run.process.returncode != 0  # else all was written


FAULTS = {"kill": _kill, "rank": _end_rank, "freeze": _freeze_rank, "disk": _fill_disk}


def _copy(source: Path, target: Path) -> None:
    """Make a folder's content equal to another's, also where that one is not there."""
    for path in target.iterdir() if target.is_dir() else []:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of `DISK` bytes in a folder meanwhile."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    subprocess.run(["mount", *options], check=True)
    try:
        yield
    finally:
        # Lazily: MLflow keeps its database open in this process.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def compare(folder: Path, kinds: list[str], draws: random.Random, *, search: bool) -> list[str]:
    """Run the sweep undisturbed and disturbed in a folder; returns `differences`."""
    path = study_file(folder, 2 * len(kinds), search)
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    run = Run(path, undisturbed)
    run.ended()
    assert run.process.returncode == 0, run.text
    whole = time.monotonic() - run.began
    print(f"undisturbed {whole:.1f} s", flush=True)
    disturb(path, whole, undisturbed, disturbed, kinds, draws)
    return differences(
        left_behind(undisturbed / "soak"), left_behind(disturbed / "soak"), len(ARMS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seed", type=int, default=0, help="of kinds and moments")
    parser.add_argument("--search", action="store_true", help="optuna chooses the trials")
    chosen = parser.parse_args()
    began = time.monotonic()
    folder, draws = Path(tempfile.mkdtemp(prefix="soak-")), random.Random(chosen.seed)
    kinds = draws.choices(chosen.kinds, k=chosen.faults)
    with small_disk(folder / "disturbed") if "disk" in kinds else nullcontext():
        found = compare(folder, kinds, draws, search=chosen.search)
        if found:
            shutil.copytree(folder / "disturbed", folder / "kept", symlinks=True)
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in chosen.kinds)
    print(*found, sep="\n")
    print(f"{told}; {len(found)} differences, {time.monotonic() - began:.0f} s in all")
    if found:
        sys.exit(f"{folder} keeps both for a closer look")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
