"""How far a study is, while it runs or after: read from its folder, in which nothing is changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import DataError
from orchestrator.storage.files import STUDY_FILE, TRACKING_FILE
from orchestrator.storage.lock import Holder, holder
from orchestrator.tracking.record import PARENT, TWIN_OF, read_record
from orchestrator.training.journal import read_journal
from orchestrator.training.outcome import FAILED, UNFINISHED, marked_outcome
from orchestrator.trials.time_left import time_left

RUNNING, WAITING, TWIN = "running", "waiting", "twin"


@dataclass(frozen=True)
class TrialStatus:
    """How far a trial is.

    Attributes:
        name: of the trial.
        state: finished, stopped, failed, running, waiting: it has not begun, or has yet to go on;
            or twin: it is not trained, and takes the result of another one.
        step: its last one; 0 before it.
        steps: of the whole trial; None before it begins.
        loss: mean query loss that was measured last, in nats a token; None before that.
        seconds: that it took, or of a running one that it will take from its start; None where that
            is not known yet.
        left: seconds until it ends; 0 where it has, None where that is not known yet.
        error: why it failed, in one sentence.
        twin_of: name of the trial whose result a twin takes; None: it is none.
    """

    name: str
    state: str
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    seconds: float | None = None
    left: float | None = None
    error: str | None = None
    twin_of: str | None = None


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is.

    Attributes:
        name: of the study.
        holder: the process that works in its folder; None: none does.
        trials: in the order of the study file, of a search those that it chose so far; none before
            their plans are made.
        left: seconds until all of them end, by what others took; None where that is not known.
    """

    name: str
    holder: Holder | None
    trials: list[TrialStatus]
    left: float | None

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)


def read_status(folder: Path, now: float | None = None) -> StudyStatus:
    """How far the study in a folder is.

    Args:
        folder: of the study.
        now: in seconds of `time.time`; None: the clock's.

    Raises:
        DataError: the folder is no study's, or its data is still read.
    """
    file = folder / STUDY_FILE
    if not file.is_file():
        raise DataError(
            f"{folder} holds no {STUDY_FILE}: give the folder of a study, <output>/<study>; one "
            "that has just started has it once its data is read"
        )
    works, at = holder(folder), time.time() if now is None else now
    since, trials = works.since if works else None, []
    if (folder / TRACKING_FILE).is_file():  # written once all trials are laid out
        for run in read_record(folder).runs:
            if run.key != PARENT:
                trials.append(_status(folder / run.folder, run.tags.get(TWIN_OF), since, at))
    sweep = yaml.safe_load(file.read_text(encoding="utf-8"))["sweep"]
    return StudyStatus(folder.name, works, trials, _left(trials, sweep["max_concurrent"]))


def _status(folder: Path, twin_of: str | None, since: float | None, now: float) -> TrialStatus:
    """How far the trial in a folder is.

    Args:
        twin_of: name of the trial whose result it takes; None: its folder tells, once it has ended.
        since: when the process began that works in the study's folder; None: none does.
    """
    outcome, events = marked_outcome(folder), read_journal(folder)
    step = max((event["step"] for event in events), default=0)
    starts = [event for event in events if event["event"] in ("start", "resume")]
    losses = [event["query_loss"] for event in events if "query_loss" in event]
    steps, loss = (starts[-1]["steps"] if starts else None), (losses[-1] if losses else None)
    if (first := outcome.twin_of or twin_of) and outcome.status != FAILED:
        return TrialStatus(folder.name, TWIN, step, steps, loss, left=0.0, twin_of=first)
    if outcome.status != UNFINISHED:
        seconds = outcome.result.get("seconds")
        return TrialStatus(
            folder.name, outcome.status, step, steps, loss, seconds, 0.0, outcome.error
        )
    if since is None or not starts or starts[-1]["time"] < since:
        return TrialStatus(folder.name, WAITING, step, steps, loss)
    left = _trial_left(events, starts[-1], now)
    seconds = None if left is None else now - starts[-1]["time"] + left
    return TrialStatus(folder.name, RUNNING, step, steps, loss, seconds, left)


def _trial_left(events: list[dict[str, Any]], start: dict[str, Any], now: float) -> float | None:
    """Seconds until a running trial ends, by the mean of its steps with their evaluations."""
    steps = [event["step"] for event in events if event["event"] == "step"]
    ready = [event["time"] for event in events if event["event"] == "ready"]
    if not ready or max(steps, default=0) <= start["step"]:
        return None
    each = (events[-1]["time"] - ready[-1]) / (steps[-1] - start["step"])
    return max(0.0, (start["steps"] - steps[-1]) * each - (now - events[-1]["time"]))


def _left(trials: list[TrialStatus], at_once: int) -> float | None:
    """Seconds until all trials ended, so many at once: one that waits lasts as the others do."""
    known = [trial.seconds for trial in trials if trial.seconds is not None]
    mean = sum(known) / len(known) if known else None
    open_ = [trial for trial in trials if trial.state in (RUNNING, WAITING)]
    lefts = [mean if trial.left is None else trial.left for trial in open_]
    seconds = [left for left in lefts if left is not None]
    return time_left(seconds, at_once) if len(seconds) == len(lefts) else None
