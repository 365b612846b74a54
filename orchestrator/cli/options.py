"""What several commands take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.config import Study

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value by its dotted key."),
]
Overlays = Annotated[
    list[Path] | None,
    typer.Option("--with", metavar="FILE", help="Lay a partial study over it; a later one wins."),
]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="DIR", help="Folder for all results.")
]
StudyFolder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of a study: <output>/<study>.")
]


def load(
    study: Path, overlays: list[Path] | None, settings: list[str] | None, output: Path | None
) -> Study:
    """The study that the options of a command describe.

    Raises:
        ConfigError: all that is wrong with it.
    """
    from orchestrator.config import load_study

    overrides = list(settings or [])
    if output is not None:
        overrides.append(f"output={json.dumps(str(output))}")
    return load_study(study, overrides, overlays or [])
