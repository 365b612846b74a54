"""What the trials of a run share: each artifact built once, each model resolved once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from orchestrator import models
from orchestrator.errors import ModelError
from orchestrator.screen import Screen
from orchestrator.stages.spec import Spec
from orchestrator.storage.artifacts import Artifact
from orchestrator.storage.remote import ArtifactStore

Check = Callable[[], None]  # raises where work shall stop
T = TypeVar("T")
S = TypeVar("S")


class SharedResources:
    """Artifacts and models by what determines them, each with a line on the screen.

    Attributes:
        store: all shared artifacts and, in its folder, models.
        models: digest of each resolved model by name.
        stages: name, seconds and reuse of what was made or fetched, for the report.
    """

    def __init__(self, store: ArtifactStore, screen: Screen) -> None:
        self.store = store
        self.models: dict[str, str] = {}
        self.stages: list[dict[str, Any]] = []
        self._screen = screen
        self._artifacts: dict[tuple[str, str], Artifact] = {}  # by kind and digest
        self._resolved: dict[str, tuple[Path, str]] = {}
        self._fetching: dict[str, Future[tuple[Path, str]]] = {}

    @contextmanager
    def fetching(self, names: Iterable[str]) -> Iterator[None]:
        """Resolve models beside the other stages, in a process that takes its memory along."""
        process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._fetching |= {
            name: process.submit(_resolve, name, self.store.path) for name in dict.fromkeys(names)
        }
        try:
            yield
        finally:
            process.shutdown(wait=False, cancel_futures=True)

    def model(self, name: str) -> tuple[Path, str]:
        """Folder and digest of a model, waited for if it is being fetched.

        Raises:
            ModelError: as `models.resolve`, or the process that fetches died.
        """
        if name not in self._resolved and name not in self._fetching:
            with self.fetching([name]):  # a search chose it later
                return self.model(name)
        if name not in self._resolved:
            line = self._screen.line(f"model {name}")
            started = time.monotonic()
            try:
                path, digest = self._fetching[name].result()
            except BrokenProcessPool as error:
                raise ModelError(self._died()) from error
            self._resolved[name] = path, digest
            self.models[name] = digest
            seconds = time.monotonic() - started
            self.stages.append({"name": f"model {name}", "seconds": seconds})
            line.done(f"in {path.parent.name}/{path.name}")
        return self._resolved[name]

    def _died(self) -> str:
        """What to tell of a fetching process that died."""
        # One model after the other: the first that has no end of its own was under way.
        under_way = next(
            name
            for name, future in self._fetching.items()
            if isinstance(future.exception(), BrokenProcessPool)
        )
        return (
            f"the process that fetches models died at {under_way}, most likely killed because "
            "this machine ran out of memory: end other programs, or take a machine with more "
            "memory, and run the same command again. What was finished is kept"
        )

    def model_folder(self, name: str) -> Path:
        """Folder of a model that is being fetched."""
        return self.model(name)[0]

    def both(self, beside: Callable[[Check], T], here: Callable[[Check], S]) -> tuple[T, S]:
        """Make two things at once that do not need each other.

        Where one of them cannot be made, the other one stops at its next step: what is wrong with
        one is told without waiting for the other.

        Args:
            beside: called in a thread, with what `get` takes to find out whether to stop.
            here: the same, called in this thread.
        """
        failed = Event()

        def check_here() -> None:
            if failed.is_set():
                raise _StoppedError

        with ThreadPoolExecutor(1) as thread:
            other = thread.submit(beside, check_here)
            try:
                mine = here(lambda: _raise_of(other))
                return other.result(), mine
            except BaseException:
                failed.set()
                raise

    def get(self, spec: Spec, check: Check = lambda: None) -> Artifact:
        """The artifact of a spec, with its line on the screen, unless this run has it already.

        Args:
            check: raises where the work shall stop; asked whenever the line moves.
        """
        identity = (spec.kind, spec.digest)
        if identity not in self._artifacts:
            line = self._screen.line(spec.name, spec.total, check)
            started = time.monotonic()
            artifact = self.store.build(spec.kind, spec.key, lambda folder: spec.make(folder, line))
            seconds = time.monotonic() - started
            stage = {"name": spec.name, "seconds": seconds, "reused": artifact.reused}
            self.stages.append(stage)
            line.done(spec.describe(artifact.info), mark="reused" if artifact.reused else "done")
            for mark, sentence in spec.remarks(artifact.info):
                self._screen.tell(sentence, mark)
            self._artifacts[identity] = artifact
        return self._artifacts[identity]


class _StoppedError(Exception):
    """Ends work beside which something else failed; nobody is told."""


def _raise_of(work: Future[Any]) -> None:
    """Raise what ended some work, if it has failed."""
    if work.done():
        work.result()


def _resolve(name: str, store: Path) -> tuple[Path, str]:
    path = models.resolve(name, store)
    return path, models.fingerprint(path, recorded=not models.is_path(name))
