"""What several commands take."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.host.shadows import check_modules

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
    study: Path,
    overlays: list[Path] | None,
    settings: list[str] | None,
    output: Path | None,
    *,
    job: bool = False,
) -> Study:
    """The study that the options of a command describe.

    Args:
        job: it is run elsewhere, from the files of this folder.

    Raises:
        ConfigError: all that is wrong with it.
        ResourceError: this folder holds modules that would hide libraries.
    """
    check_modules(Path.cwd(), joins=job or bool(os.environ.get("RAY_ADDRESS")))
    from orchestrator.config import load_study

    overrides = list(settings or [])
    if output is not None:
        overrides.append(f"output={json.dumps(str(output))}")
    return load_study(study, overrides, overlays or [])
