"""The screen while trials run: a line a trial, from its journal, and how each of them ends."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
from ray import tune
from rich.markup import escape

from orchestrator.screen import Line, Screen
from orchestrator.training.job import Job, planned_steps
from orchestrator.training.record import ERROR, JournalTail, read_result

# Journal events that a user must not miss.
LOUD = {
    "damaged": "the checkpoint of step {checkpoint} is not used: {fault}. Continuing after {step}",
    "out_of_memory": "step {step} ran out of memory: now {micro_batch_tokens} tokens at once",
}


class Watch(tune.Callback):
    """Shows the trials while they run and collects how they end.

    Ray Tune calls it between events of its loop, on the thread that waits for the study.

    Attributes:
        errors: why, of each trial that failed.
    """

    def __init__(self, jobs: dict[str, Job], screen: Screen) -> None:
        self._jobs = jobs
        self._screen = screen
        self._all = screen.line("trials", len(jobs))
        self._views: dict[str, View] = {}
        self.errors: dict[str, str] = {}
        self._ended = 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune pickles its callbacks for a restoration that is never asked for."""
        return {}

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        failed = len(self.errors)
        note = f"{self._ended - failed} finished" + (f", {failed} failed" if failed else "")
        self._all.done(note, mark="failed" if failed else "done")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        name = trial.config["trial"]
        if name not in self._views:
            self._views[name] = View(self._jobs[name], self._screen)

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        for view in self._views.values():
            view.look()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._end(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._end(trial.config["trial"])

    def _end(self, name: str) -> None:
        job = self._jobs[name]
        view = self._views.pop(name, None) or View(job, self._screen)
        error = ""
        if read_result(job.folder, job.key) is None:
            told = job.folder / ERROR
            error = told.read_text(encoding="utf-8") if told.is_file() else "its process died"
            self.errors[name] = error
        view.end(error)
        self._ended += 1
        self._all.update(self._ended)


class View:
    """The line of one trial."""

    def __init__(self, job: Job, screen: Screen) -> None:
        self._name = job.trial
        self._screen = screen
        self._journal = JournalTail(job.folder)
        self._latest: dict[str, float] = {}
        self._step, self._note = 0, "starting"
        rows = pq.read_metadata(job.folder / "plan.parquet").num_rows
        self._line: Line = screen.line(job.trial, planned_steps(job.config, rows))
        self._line.update(0, self._note)

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
            self._note = " ".join(f"{name} {value:.3f}" for name, value in self._latest.items())
        self._line.update(self._step, self._note)

    def end(self, error: str) -> None:
        """The line that stays."""
        self.look()
        self._line.done(error or self._note, mark="failed" if error else "done")
