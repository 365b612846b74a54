"""The errors a user can mend. The command line prints their message and no traceback."""

import re
import traceback
from pathlib import PurePath

from orchestrator.redaction import redacted

SHOWN_CHARS = 300  # of what a crash says
FRAME = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')
NAMED = re.compile(r"([A-Za-z_]\w*\.)*_*[A-Z]\w*(:|$)")  # how a traceback names an exception


class UserError(Exception):
    """What was wrong, where, and what to type instead, in one message, which shows no secret of an
    address."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(redacted(message))


class ConfigError(UserError):
    """Every fault of a study file at once.

    Args:
        faults: one sentence a fault, each naming file, key, value and what is accepted.
    """

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        head = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(
            f"{head} in the settings:\n" + "\n".join(f"  - {fault}" for fault in faults)
        )


class DataError(UserError):
    """A source cannot be read, or holds nothing to train or to test on."""


class PlanError(DataError):
    """A trial has no plan: its method made none, or what it made is none."""


class ModelError(UserError):
    """A model name cannot be resolved, or its files are not the ones that were pinned."""


class ResourceError(UserError):
    """The study asks for more than the cluster, the disk or the memory has."""


class DiskError(ResourceError):
    """A disk is full, can only be read or fails: whatever is written next meets it too."""

    exit_code = 6


class SmallerBatchError(ResourceError):
    """Memory ran out in an attempt at a trial; the next one takes smaller micro-batches."""


class RayDied(UserError):
    """Ray itself has died under a study.

    Args:
        what: of its processes.
        logs: where those of Ray are.
    """

    exit_code = 5

    def __init__(self, what: str, logs: str) -> None:
        super().__init__(
            f"Ray has died: its {what} is gone, and without it nothing of this study comes to an "
            f"end. {logs} may say why (it was killed, or memory ran out). The same command again "
            "finishes the study"
        )


class OrderError(UserError):
    """The rows that a model was fed are not the rows of its plan."""


class TrainingError(UserError):
    """A trial cannot go on: a loss that is not a number, a batch without answers."""


class JobError(UserError):
    """A job cannot be submitted, or its cluster cannot be reached."""


class JobLost(JobError):
    """What became of a submitted job is not known."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    """What an error of a library says first, or its name where it says nothing: 200 characters."""
    text = redacted(str(error).strip())
    return text.splitlines()[0][:200] if text else type(error).__name__


def crash(error: BaseException) -> str:
    """What a crash says in its first line, and in which line of which file it happened.

    Ray wraps what a worker met into pages of its own, of which the innermost traceback tells most.
    """
    wrapped = str(error)
    text = wrapped if "Traceback" in wrapped else "".join(traceback.format_exception(error))
    lines = text.strip().splitlines()
    frames = [(at, frame) for at, line in enumerate(lines) if (frame := FRAME.match(line))]
    if not frames:
        named = [line for line in lines if NAMED.match(line)]
        return redacted([first_line(error), *named][-1].strip()[:SHOWN_CHARS])
    at, frame = frames[-1]
    said = next((line for line in lines[at:] if NAMED.match(line)), first_line(error))
    place = f"{PurePath(frame['file']).name}, line {frame['line']}"
    return f"{redacted(said.strip()[:SHOWN_CHARS])} ({place})"
