"""`orchestrator arrange`: plans for this or another trainer, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Overlays, Settings, load
from orchestrator.errors import UserError


def arrange(  # noqa: PLR0913, PLR0917  (typer reads the options from the signature)
    out: Annotated[
        Path,
        typer.Option("--out", metavar="PATH", help="A folder for a study's plans, or a file."),
    ],
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY.yaml]")] = None,
    embeddings: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="Vectors of a pool: no study is needed.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE.npy", help="Vectors of its query set.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="List of the task of each row.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="Also write the order as others read it: ids, jsonl, llama-factory, axolotl, trl, "
            "nemo, hf.",
        ),
    ] = None,
    overlays: Overlays = None,
    settings: Settings = None,
) -> None:
    """Write plans without training, for this or another trainer."""
    from orchestrator.stages.exports import check_format

    if form is not None:
        check_format(form, texts=study is not None)
    if study is not None and embeddings is None and queries is None and tasks is None:
        from orchestrator.study.arrange import arrange_study

        arrange_study(load(study, overlays, settings, None), out, form)
    elif study is None and not overlays and embeddings is not None and queries is not None:
        from orchestrator.config.load import load_settings
        from orchestrator.study.arrays import ArraySettings, arrange_arrays

        loaded = load_settings(ArraySettings, settings or [])
        plan = arrange_arrays(embeddings, queries, tasks, loaded, out, form)
        print(f"{out}: {len(plan):,} rows" + (f", {plan.note}" if plan.note else ""))
    else:
        raise UserError(
            "arrange reads a study, as in `orchestrator arrange STUDY.yaml --out DIR`, or arrays, "
            "as in `orchestrator arrange --embeddings train.npy --queries test.npy "
            "--set arrangement.arm=min --set arrangement.rows=1000 --out plan.parquet`"
        )
