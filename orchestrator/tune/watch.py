"""The screen while trials run: a line a trial, from its journal, and how each of them ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ray import tune
from rich.markup import escape

from orchestrator.errors import DiskError, crash
from orchestrator.report.tables import number
from orchestrator.screen import Line, Screen
from orchestrator.storage.disk import disk_error_in
from orchestrator.training.journal import JournalTail
from orchestrator.training.outcome import FAILED, FINISHED, mark_stopped, read_outcome
from orchestrator.training.spec import TrialSpec, trial_steps
from orchestrator.trials.time_left import time_left
from orchestrator.tune.hangs import Guard
from orchestrator.tune.trainable import placement_of

# Journal events that a user must not miss.
LOUD = {
    "damaged": "the checkpoint of step {checkpoint} is not used: {fault}. Continuing after {step}",
    "out_of_memory": "step {step} ran out of memory: now {micro_batch_tokens} tokens at once",
    "padded": "rows are padded to the longest beside them: {reason}",
    "overflow": "step {step} overflowed float16: repeated at the loss scale {loss_scale:g}",
}


class Watch(tune.Callback):
    """Shows the trials while they run and collects how they end.

    Ray Tune calls it between events of its loop, on the thread that waits for the study. A trial
    that meets a full disk ends the study by a `DiskError`: every other one would meet it, too.

    Attributes:
        errors: why, of each trial that failed.
        stopped: names of the trials that the scheduler ended early.
    """

    def __init__(self, count: int, at_once: int, scheduler: dict[str, Any], screen: Screen) -> None:
        self._screen = screen
        self._scheduler = scheduler
        self._at_once = at_once
        self._all = screen.line("trials", count)
        self._views: dict[str, TrialLine] = {}
        self._guards: dict[str, Guard] = {}  # of the attempts that run
        self.errors: dict[str, str] = {}
        self._full: DiskError | None = None
        self.stopped: list[str] = []
        self._ended = 0
        self._count = count
        self._seconds: list[float] = []  # of each trial that finished

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune pickles its callbacks for a restoration that is never asked for."""
        return {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        for view in self._views.values():
            view.leave()  # it was interrupted
        failed, stopped, left = len(self.errors), len(self.stopped), len(self._views)
        parts = [f"{self._ended - failed - stopped} finished"]
        parts += [f"{stopped} stopped early"] if stopped else []
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{left} interrupted"] if left else []
        self._all.done(", ".join(parts), mark="failed" if failed else "later" if left else "done")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        spec = trial.config["spec"]
        if spec.trial not in self._views:
            self._views[spec.trial] = TrialLine(spec, self._screen)
        self._guards[spec.trial] = Guard(spec, self._screen)

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self.check()
        for view in self._views.values():
            view.look()
        for guard in self._guards.values():
            guard.look()
        self._show_all()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        spec = trial.config["spec"]
        outcome = read_outcome(spec.folder, spec.key)
        if outcome.status == FINISHED:
            self._end(spec)
        elif outcome.status == FAILED:
            self._fail(spec, outcome.error or "")
        else:
            step = mark_stopped(spec.folder, spec.key, self._scheduler)
            self.stopped.append(spec.trial)
            self._end(spec, f"stopped early, after step {step}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        spec = trial.config["spec"]
        if (full := _met(trial)) is None:
            self._fail(spec, read_outcome(spec.folder, spec.key).error or _death(spec, trial))
        else:
            self._end_with(full, spec)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._guards.pop(trial.config["spec"].trial, None)
        if (full := _met(trial)) is not None:  # it is not tried again
            self._end_with(full, trial.config["spec"])

    def check(self) -> None:
        """Raise what ends the study, if a trial met that."""
        if self._full is not None:
            raise self._full

    def _end_with(self, full: DiskError, spec: TrialSpec) -> None:
        self._full = full
        self._fail(spec, str(full))

    def _fail(self, spec: TrialSpec, error: str) -> None:
        self.errors[spec.trial] = error
        self._end(spec, error, mark="failed")

    def _end(self, spec: TrialSpec, note: str = "", mark: str = "done") -> None:
        view = self._views.pop(spec.trial, None)
        self._guards.pop(spec.trial, None)
        if view and not note:
            self._seconds.append(view.seconds)
        (view or TrialLine(spec, self._screen)).end(note, mark)
        self._ended += 1
        self._show_all()

    def _show_all(self) -> None:
        running = [view.seconds for view in self._views.values()]
        waiting = self._count - self._ended - len(running)
        left = expected_left(self._seconds, running, waiting, self._at_once)
        self._all.update(self._ended, left=left)


def _death(spec: TrialSpec, trial: Any) -> str:
    """What is said of a trial that ended for the last time without a word of its own."""
    noted = Path(trial.error_file).read_text(encoding="utf-8")
    if "ActorDiedError" not in noted:
        return crash(RuntimeError(noted))
    goes_on = "the same command goes on from its last checkpoint"
    if not placement_of(spec.config, spec.folder).alone:
        return f"the process that drives its ranks died, or its node: {goes_on}"
    return (
        "its process died, most likely killed because memory ran out: set "
        f"training.micro_batch_tokens below {spec.config.training.micro_batch_tokens:,}, or take a "
        f"machine with more memory; {goes_on}"
    )


def _met(trial: Any) -> DiskError | None:
    """The full disk that a trial met, as Ray Tune noted it on this machine; None for another end.

    The trial's own folder may be where there is no room to say so.
    """
    return disk_error_in(Path(trial.error_file).read_text(encoding="utf-8"))


def expected_left(
    finished: list[float], running: list[float], waiting: int, at_once: int
) -> float | None:
    """Seconds until all trials have ended, if each takes as long as those that finished did.

    None where none has finished, or none is running.

    Args:
        finished: seconds that each of them took.
        running: seconds for which each of them has run.
        waiting: how many are to come.
        at_once: how many run side by side.
    """
    if not finished or not running:
        return None
    each = sum(finished) / len(finished)
    begun = [max(each - seconds, 0.0) for seconds in running]
    return time_left([*begun, *[each] * waiting], at_once)


class TrialLine:
    """The line of one trial on the screen, from its journal."""

    def __init__(self, spec: TrialSpec, screen: Screen) -> None:
        self._name = spec.trial
        self._screen = screen
        self._journal = JournalTail(spec.folder)
        self._latest: dict[str, float] = {}
        self._step, self._note = 0, "starting"
        self._started = time.monotonic()
        self._line: Line = screen.line(spec.trial, trial_steps(spec))
        self._line.update(0, self._note)

    @property
    def seconds(self) -> float:
        """For how long the trial has run."""
        return time.monotonic() - self._started

    def look(self) -> None:
        """Show what the journal gained."""
        for event in self._journal.new_events():
            kind = event["event"]
            if kind in ("start", "resume"):
                self._step, self._note = 0, "loading"
            self._step = max(self._step, event["step"])
            if kind == "step":
                self._latest["train"] = event["loss"]
            elif kind == "measure" and "query_loss" in event:
                self._latest["query"] = event["query_loss"]
            elif kind in LOUD:
                sentence = escape(f"{self._name}: {LOUD[kind].format(**event)}")
                self._screen.print(f"[yellow]warning[/] {sentence}")
        if self._latest:
            losses = ", ".join(f"{name} {number(value)}" for name, value in self._latest.items())
            self._note = f"loss: {losses}"
        self._line.update(self._step, self._note)

    def leave(self) -> None:
        """Take the line away, without a word."""
        self._line.remove()

    def end(self, note: str = "", mark: str = "done") -> None:
        """Leave the line that stays: a note, or else the latest losses."""
        self.look()
        self._line.done(note or self._note, mark)
