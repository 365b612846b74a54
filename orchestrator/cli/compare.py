"""`orchestrator compare`: several studies on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import UserError

Studies = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Folders of studies, <output>/<study>.")
]


def compare(
    studies: Studies,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="The page's folder, made if it is not there.")
    ] = Path("comparison"),
) -> None:
    """Set studies side by side: one page, on the test items that all of them measured."""
    from orchestrator.report.build import build_comparison

    if len(studies) < 2:
        raise UserError(
            "one study alone has its own report: give two folders or more, as in "
            "orchestrator compare outputs/first outputs/second"
        )
    page, sentence = build_comparison(studies, out)
    print(sentence)
    print(page)
