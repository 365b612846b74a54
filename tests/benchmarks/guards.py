"""Which guards of the code a test would miss: each is taken out of a copy, and its tests are run.

    python tests/benchmarks/guards.py [PART OF THE NAME OF A GUARD, OR OF ITS TESTS]

`guards.yaml` lists them. Its tests run on the code as it is, and have to pass; then without each of
the guards that they are to notice: `noticed`, or `NOT NOTICED`. The exit code is 0 if all are. A
guard whose text is not in its file once is an error: the list is mended with the code. Another
layer that would also catch what a guard keeps out is no excuse.

Libraries are imported once, by the process that the tests of each guard are forked from.
"""

from __future__ import annotations

import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "outputs", "*.egg-info")
LIBRARIES = [
    "pytest", "numpy", "pydantic", "pyarrow.parquet", "torch", "transformers", "peft", "datasets",
    "sentence_transformers", "mlflow", "scipy.optimize", "faiss",
]  # fmt: skip
PASSED, FAILED = 0, 1  # of pytest


@dataclass(frozen=True)
class Guard:
    """What keeps something out.

    Attributes:
        guard: its name.
        file: path in the project.
        text: the guard, as it stands there once.
        without: what stands there once it is gone.
        tests: pytest's arguments for the tests that have to notice.
    """

    guard: str
    file: str
    text: str
    without: str
    tests: str

    def taken_out(self, code: str) -> str:
        """The code of its file without it.

        Raises:
            ValueError: its text is not there once.
        """
        if (times := code.count(self.text)) != 1:
            raise ValueError(
                f"{self.guard}: {self.file} has its text {times} times, and not once: mend "
                f"guards.yaml. It is {self.text!r}"
            )
        return code.replace(self.text, self.without)


def run_tests(copy: Path, arguments: str) -> None:
    """Run tests of a copy of the project, and exit as pytest does; in a process of its own."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    log = os.open(copy / "tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import pytest

    sys.dont_write_bytecode = True  # two versions of a file may have one size and one time stamp
    options = ["-n", "0", "-o", "addopts=", "-p", "no:cacheprovider", "-x", "-q"]
    sys.stdout.flush()
    os._exit(pytest.main([*options, *shlex.split(arguments)]))


def exit_code(copy: Path, arguments: str) -> int:
    """How the tests ended that `run_tests` ran."""
    fork = multiprocessing.get_context("forkserver")
    fork.set_forkserver_preload(LIBRARIES)
    process = fork.Process(target=run_tests, args=(copy, arguments))
    process.start()
    process.join()
    assert process.exitcode is not None, "it has ended"
    return process.exitcode


def run_without(copy: Path, guard: Guard) -> bool:
    """Whether the tests notice that a guard is gone."""
    file = copy / guard.file
    whole = file.read_text()
    file.write_text(guard.taken_out(whole))
    code = exit_code(copy, guard.tests)
    file.write_text(whole)
    if code not in (PASSED, FAILED):
        print((copy / "tests.log").read_text())
        raise SystemExit(f"{guard.guard}: {guard.tests} end with {code}")
    return code == FAILED


def main() -> int:
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    listed = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    guards = [guard for guard in (Guard(**each) for each in listed)
              if part in guard.guard or part in guard.tests]  # fmt: skip
    for guard in guards:
        guard.taken_out((PROJECT / guard.file).read_text())
    missed = 0
    with tempfile.TemporaryDirectory(prefix="guards-") as scratch:
        copy = Path(scratch, "project")
        shutil.copytree(PROJECT, copy, ignore=LEFT_OUT)
        for tests in dict.fromkeys(guard.tests for guard in guards):
            if code := exit_code(copy, tests):
                print((copy / "tests.log").read_text())
                raise SystemExit(f"{tests} end with {code} on the code as it is")
            for guard in (guard for guard in guards if guard.tests == tests):
                began = time.monotonic()
                noticed = run_without(copy, guard)
                missed += not noticed
                word = "noticed" if noticed else "NOT NOTICED"
                print(f"{word:<12}{guard.guard} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(guards) - missed} of {len(guards)} noticed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
