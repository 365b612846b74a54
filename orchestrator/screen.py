"""What the user sees: one line a stage, one line a trial, and nothing else.

Ray, DeepSpeed and their libraries write to the process's standard streams from many threads and
from C++; while a study runs both streams go to a log file, and the screen keeps a stream of its
own.
"""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from orchestrator.errors import UserError
from orchestrator.redaction import redacted

# Without a terminal a line is printed at most this often while its work goes on, in seconds.
QUIET_SECONDS = 20.0
# Lines of a file are not folded to the width of a terminal.
FILE_WIDTH = 500


_shown_errors = [2]  # descriptors of error streams, the newest the one that its user sees


def _go_on() -> None:
    """Says of no work that it shall stop."""


class Line:
    """One line of progress: a name, a count, a note; `check` raises where its work shall stop."""

    def __init__(
        self, screen: Screen, name: str, total: int | None, check: Callable[[], None]
    ) -> None:
        self._screen = screen
        self._check = check
        self._name = name
        self._total = total
        self._started = self._printed = time.monotonic()
        self._shown = ""
        progress = screen.progress
        self._task = progress.add_task(name, total=total, note="", left=None) if progress else None

    def update(self, done: int, note: str = "", left: float | None = None) -> None:
        """Show how many of the total are done, and a few words; raises what `check` raises.

        Args:
            left: seconds until all are done, where more is known than how fast the line goes on.
        """
        self._check()
        if self._screen.progress and self._task is not None:
            self._screen.progress.update(self._task, completed=done, note=note, left=left)
        elif time.monotonic() - self._printed > QUIET_SECONDS:
            count = f"{done}/{self._total} " if self._total else ""
            time_left = "" if left is None else f"about {duration(left)} left"
            shown = f"{self._name}: {count}{note}{time_left}".rstrip(" :")
            if shown != self._shown:
                self._shown, self._printed = shown, time.monotonic()
                self._screen.print(escape(shown))

    def tell(self, text: str) -> None:
        """A warning that stays, while the line goes on."""
        self._screen.tell(f"{self._name}: {text}")

    def remove(self) -> None:
        """Show the line no longer."""
        if self._screen.progress and self._task is not None:
            self._screen.progress.remove_task(self._task)

    def done(self, note: str, mark: str = "done") -> None:
        """Say how the work that the line shows has ended; the line stays."""
        seconds = time.monotonic() - self._started
        self.remove()
        style = "red" if mark == "failed" else "green"
        words = escape(f"{self._name:<30} {note}")
        # Without a space, at which a narrow terminal would part the number from its unit.
        self._screen.print(f"[{style}]{mark:>7}[/] {words} [dim]({seconds:.1f}s)[/]")


class Count(MofNCompleteColumn):
    """How much is done of what is known; nothing of work that is one thing."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


class TimeLeft(TimeRemainingColumn):
    """The time left as the line was told, or else by how fast it goes on; nothing where neither is
    known."""

    def render(self, task: Task) -> Text:
        left = task.fields["left"]
        said = super().render(task) if left is None else Text(duration(left), "progress.remaining")
        known = any(map(str.isdigit, said.plain))
        return said.append(" left", "dim") if known else Text()


class Screen:
    """The user's terminal, or a plain line-based stream where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.progress: Progress | None = None
        if self.console.is_terminal:
            self.progress = Progress(
                # 80 columns: the name, the count and the time left are never cut, a note that is
                # too long is wrapped between words.
                TextColumn("{task.description:<28}", markup=False),
                Count(table_column=Column(no_wrap=True)),
                TimeLeft(compact=True, table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[note]}", markup=False, table_column=Column()),
                console=self.console,
                transient=True,
                # It would show here what libraries print, which goes to the log file.
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Screen:
        if self.progress:
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.progress:
            self.progress.stop()

    def line(self, name: str, total: int | None = None, check: Callable[[], None] = _go_on) -> Line:
        """Begin a line of progress."""
        return Line(self, name, total, check)

    def tell(self, text: str, mark: str = "warning") -> None:
        """A sentence that stays: a `warning`, or a `note` that asks for nothing."""
        style = "yellow" if mark == "warning" else "dim"
        self.print(f"[{style}]{mark:>7}[/] {escape(text)}")

    def print(self, text: object = "", *, whole: bool = False) -> None:
        """A permanent line (rich markup) above the moving ones.

        Args:
            whole: it is there to be copied, so that a terminal must not make several lines of it.
        """
        if isinstance(text, str) and not whole:
            print_text(self.console, redacted(text))
        else:
            shown = redacted(text) if isinstance(text, str) else text
            self.console.print(shown, soft_wrap=True)


def plain_console() -> Console:
    """Standard output, for what a command prints."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)


def print_text(console: Console, markup: str) -> None:
    """Print text, at a terminal wrapped between words; a file has its lines as they are.

    A path that is longer than the terminal is left to it: rich would cut it into lines.
    """
    fits = all(len(word) <= console.width for word in Text.from_markup(markup).plain.split())
    console.print(markup, soft_wrap=not (console.is_terminal and fits))


def duration(seconds: float) -> str:
    """Seconds in the unit that one says them in."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def shown_path(path: Path | str) -> str:
    """A path relative to the working folder where that is shorter."""
    text = str(path)
    here = f"{Path.cwd()}/"
    return text.replace(here, "") if here in text else text


@contextmanager
def quiet_streams(log: Path) -> Iterator[Console]:
    """Send everything written to standard output and error to a file meanwhile.

    Yields:
        A console on the original standard output, of a notebook on the output of its cell.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(1), os.dup(2)]
    console_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _shown_errors.append(kept[1])
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    try:
        with quiet_cell(log) as cell:
            yield Console(
                file=cell or console_file,
                force_jupyter=False,
                force_terminal=False if cell else None,
                width=None if cell or console_file.isatty() else FILE_WIDTH,
                highlight=False,
            )
    except Exception as error:
        if not isinstance(error, UserError):
            with suppress(OSError), log.open("a", encoding="utf-8") as sink:  # of a full disk
                traceback.print_exc(file=sink)
        raise
    finally:
        _flush()
        _shown_errors.pop()
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        console_file.close()


def _flush() -> None:
    """Have the log take what is still on its way, or nobody, where its disk is full."""
    for number, stream in enumerate((sys.stdout, sys.stderr), start=1):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), number)
            stream.flush()


@contextmanager
def quiet_cell(log: Path) -> Iterator[TextIO | None]:
    """Send what Python would print into the cell of a notebook to a file meanwhile.

    Yields:
        What still writes into the cell; None where this is no notebook.
    """
    if not Console().is_jupyter:
        yield None
        return
    # The kernel's streams themselves, and not the names in sys: handlers of loggers keep them.
    streams = [vars(stream) for stream in (sys.stdout, sys.stderr)]
    cell = _Cell(sys.stdout.write)
    with log.open("a", encoding="utf-8") as sink:
        for stream in streams:
            stream["write"] = sink.write
        try:
            yield cell
        finally:
            for stream in streams:
                del stream["write"]


def last_words(text: str) -> None:
    """A sentence on the user's error stream, from a thread that ends this process next."""
    os.write(_shown_errors[-1], f"{text}\n".encode())


class _Cell(io.StringIO):
    """A file that writes what it is given at once, by a function."""

    def __init__(self, write: Callable[[str], int]) -> None:
        super().__init__()
        self._write = write

    def write(self, text: str) -> int:
        return self._write(text)
