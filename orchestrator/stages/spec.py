"""What a stage returns: how an artifact is found, made and told of. Nothing happens yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.screen import Line
from orchestrator.storage.artifacts import key_digest

Info = Mapping[str, Any]


def no_remarks(info: Info) -> Iterable[tuple[str, str]]:
    """Remarks of an artifact that has none."""
    return ()


@dataclass(frozen=True)
class Spec:
    """An artifact of the store, there already or yet to be made.

    Attributes:
        kind: the stage, which names its folder in the store.
        key: JSON value of all that determines the content, the stage's version among it.
        make: writes the files into the folder that it is given, moves the line on the screen
            meanwhile, and returns what the artifact shall remember.
        name: on the screen.
        describe: what the artifact remembers, in a few words.
        total: steps of the line on the screen.
        remarks: what it remembers and the user has to know: marks and sentences, as `Screen.tell`
            has them.
    """

    kind: str
    key: Mapping[str, Any]
    make: Callable[[Path, Line], Info]
    name: str
    describe: Callable[[Info], str]
    total: int | None = None
    remarks: Callable[[Info], Iterable[tuple[str, str]]] = no_remarks

    @cached_property
    def digest(self) -> str:
        """The identity of the artifact, which those made from it build upon."""
        return key_digest(self.key)
