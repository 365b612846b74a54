"""Sends a study's record to MLflow while the study runs; neither waits for the other."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from requests import RequestException
from rich.markup import escape

from orchestrator.errors import DiskError
from orchestrator.host.proxies import proxies
from orchestrator.screen import Screen
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.record import Record, read_record, stopped

PASS_SECONDS = 3.0  # between two passes
LONGEST_PAUSE = 60.0  # between two attempts at a server that does not answer
LAST_PAUSE = 1.0  # once the study is over
LAST_SECONDS = 5.0  # for a study that was stopped: its user waits for the prompt


@dataclass(frozen=True)
class Backlog:
    """What MLflow is not known to have, where it is to go, and why it is not there."""

    points: int
    files: int
    runs: int
    address: str
    study_folder: Path
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.points:,} points and {self.files:,} files of {self.runs:,} runs are not yet "
            f"confirmed on {self.address} ({self.reason}): run `orchestrator sync "
            f"{self.study_folder}` when it is back. The study's folder holds all of it"
        )


class Tracker:
    """A thread that keeps MLflow equal to a record.

    Args:
        record: of the study at its start; written into its folder before anything is sent.
        study_folder: of the study.
        screen: is told when MLflow stops answering.
    """

    def __init__(self, record: Record, study_folder: Path, screen: Screen) -> None:
        self._folder = study_folder
        self._screen = screen
        self._mirror = Mirror(study_folder)
        self._wake = threading.Event()
        self._ending = self._given_up = self._sent = False
        self._failure = ""
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self.update(record)
        self._thread.start()

    def update(self, record: Record) -> None:
        """Set what MLflow should hold from now on, and return at once."""
        record.write(self._folder)
        self.record = record

    @property
    def address(self) -> str:
        """The address under which MLflow is reached."""
        return self.record.address(self._folder)

    def close(self, seconds: float) -> Backlog | None:
        """Send what is left, for so many seconds at most; returns what was not sent."""
        self._ending = True
        self._wake.set()
        self._thread.join(seconds)
        # The thread ends after the request that it waits for, and with the process in any case.
        self._given_up = True
        if self._sent:
            return None
        return _unsent(self._mirror, self.record, self._folder, self._failure or "it is slow")

    def abandon(self) -> None:
        """Mark the runs of a study that was stopped; its next run opens them again."""
        with suppress(DiskError):  # which may be what stopped it, and is told for that
            self.update(stopped(self.record, self._folder))
        self.close(LAST_SECONDS)

    def _run(self) -> None:
        pause = PASS_SECONDS
        while not self._given_up:
            ending = self._ending  # before the pass: one that begins after the end sees all
            try:
                self._mirror.send(self.record)
            except Exception as error:
                logging.exception("MLflow did not take a batch")
                if not self._failure:
                    self._screen.print(
                        f"[yellow]{escape(self.address)}: "
                        f"{escape(_reason(error))}.[/] Training goes on, the record is sent later"
                    )
                self._failure, pause = _reason(error), min(2 * pause, LONGEST_PAUSE)
            else:
                self._failure, pause, self._sent = "", PASS_SECONDS, ending
                if ending:
                    return
            self._wake.wait(LAST_PAUSE if self._ending else pause)
            self._wake.clear()


def sync(study_folder: Path) -> Backlog | None:
    """Send what MLflow lacks of a study; returns what it did not take.

    The caller holds the lock of the study: two senders would make each run twice.

    Raises:
        DataError: the folder is not one of a study that ran.
    """
    folder = study_folder.resolve()
    record, mirror = read_record(folder), Mirror(folder)
    try:
        mirror.send(record)
    except Exception as error:
        logging.exception("MLflow did not take a batch")
        return _unsent(mirror, record, folder, _reason(error))
    return None


def _unsent(mirror: Mirror, record: Record, folder: Path, reason: str) -> Backlog:
    return Backlog(*mirror.unsent(record), record.address(folder), folder, reason)


def _reason(error: Exception) -> str:
    """Why MLflow took nothing, in one line, out of the exceptions that MLflow wraps it into."""
    if isinstance(error.__context__, RequestException):
        asked = ", ".join(f"{name}={proxy}" for name, proxy in sorted(proxies().items()))
        return "it does not answer" + (
            f"; it was asked through the proxy of {asked}, if no_proxy does not list its host"
            if asked
            else ""
        )
    lines = (str(error) or type(error).__name__).splitlines()
    # SQLAlchemy begins with advice for whoever wrote the query.
    told = [line for line in lines if not line.startswith("(raised as a result of")] or lines
    return told[0][:200]
