"""`orchestrator status`: how far a study is, on the screen."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from orchestrator.report.status import RUNNING, TWIN, WAITING, StudyStatus, TrialStatus
from orchestrator.screen import duration, plain_console, print_text
from orchestrator.training.outcome import FAILED, FINISHED, STOPPED


def print_status(status: StudyStatus) -> None:
    """Print a line a trial, how many are done, running and failed, and the time left."""
    console = plain_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", overflow="fold")
    for name in ("state", "step", "query loss", "time", "left"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for trial in status.trials:
        table.add_row(*_cells(trial))
    if status.trials:
        console.print(table)
        console.print()
    for line in _lines(status):
        print_text(console, escape(line))


def _cells(trial: TrialStatus) -> tuple[str, ...]:
    step = "" if trial.steps is None else f"{trial.step:,}/{trial.steps:,}"
    loss = "" if trial.loss is None else f"{trial.loss:.3f}"
    done = trial.state != RUNNING and trial.seconds is not None
    took = duration(trial.seconds) if done and trial.seconds is not None else ""
    left = f"~{duration(trial.left)}" if trial.left and trial.state == RUNNING else ""
    state = f"as {trial.twin_of}" if trial.state == TWIN else trial.state
    return trial.name, state, step, loss, took, left


def _lines(status: StudyStatus) -> list[str]:
    trials, works = status.trials, status.holder
    states = (FINISHED, STOPPED, RUNNING, WAITING, FAILED)
    counts = [f"{status.count(state)} {state}" for state in states if status.count(state)]
    counts += [f"{twins} as another"] if (twins := status.count(TWIN)) else []
    told = f"{len(trials)}: {', '.join(counts)}" if trials else "their plans are not made yet"
    lines = [f"trials  {told}"]
    lines += [f"failed  {trial.name}: {trial.error}" for trial in trials if trial.error]
    unfinished = status.count(RUNNING) + status.count(WAITING) or not trials
    if works is None:
        again = ": the same command again finishes it" if unfinished else ""
        return [*lines, f"left    nobody works in the folder of {status.name}{again}"]
    left = "not known before a trial has taken a step"
    if not unfinished:
        left = "benchmarks and the report"
    elif trials and status.left is not None:
        left = f"~{duration(status.left)}"
    return [*lines, f"left    {left}", f"by      {works.words}"]
