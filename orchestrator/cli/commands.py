"""The commands. Heavy imports wait inside them, so that `--help` is instant."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.arrange import arrange
from orchestrator.cli.compare import compare
from orchestrator.cli.init import init
from orchestrator.cli.jobs import jobs, submit
from orchestrator.cli.options import Output, Overlays, Settings, StudyFile, StudyFolder, load
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.config import Study

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

app.command()(init)
app.command()(submit)
app.command()(arrange)
app.command()(compare)
app.add_typer(jobs, name="jobs")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"orchestrator {version('arrangement-orchestrator')}")
        raise typer.Exit


@app.callback()
def main(
    told: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Experiments on the order of training data in LLM instruction tuning."""


@app.command()
def run(
    study: StudyFile,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
    dry_run: Annotated[bool, typer.Option(help="Show the trials and stop.")] = False,
) -> None:
    """Run a study, or finish what an earlier run of it left."""
    loaded = load(study, overlays, settings, output)
    if dry_run:
        _print_estimate(loaded)
        return
    from orchestrator.study.run import run_study

    if not run_study(loaded):
        raise typer.Exit(1)


@app.command()
def estimate(
    study: StudyFile,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a GPU hour: what the study costs is told too.")
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Reckon with this GPU, as in H100, not this machine's."),
    ] = None,
) -> None:
    """Show the trials of a study, the hours and the money that they take, before anything runs."""
    _print_estimate(load(study, overlays, settings, output), gpu, price)


@app.command()
def show(
    study: StudyFile,
    rows: Annotated[int, typer.Option(min=1, help="Rows of each set.")] = 3,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
) -> None:
    """Print a few rows of each set as the model will see them, with what carries loss marked."""
    from orchestrator.study.show import show_rows

    if not show_rows(load(study, overlays, settings, output), rows):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON schema of study files, by which editors complete and explain their keys."""
    from orchestrator.config.json_schema import schema_text

    print(schema_text(), end="")


@app.command()
def reproduce(
    study: StudyFile,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
) -> None:
    """Run a study, then say of each figure of the paper that it claims whether it is met."""
    loaded = load(study, overlays, settings, output)
    if loaded.claim is None or not loaded.claim.figures:
        raise UserError(
            f"{study} has no figures to compare with: list them under claim.figures, or type "
            f"`orchestrator run {study}`"
        )
    from orchestrator.config.layout import Layout
    from orchestrator.report.reproduce import figure_checks
    from orchestrator.study.run import run_study

    finished = run_study(loaded)
    checks = figure_checks(Layout.of(loaded).folder)
    for check in checks:
        print(check.sentence)
    if not (finished and all(check.met for check in checks)):
        raise typer.Exit(1)


@app.command()
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name as in model.name, or the folder of a saved model."
        ),
    ],
    on: Annotated[
        Path, typer.Option("--on", metavar="STUDY", help="A study file, or the folder of a study.")
    ],
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
) -> None:
    """Measure any model as a study measures its own: losses, answers, rewards."""
    from orchestrator.storage.files import STUDY_FILE

    file = on
    if on.is_dir():
        file, output = on / STUDY_FILE, output or on.absolute().parent
    loaded = load(file, overlays, settings, output)
    from orchestrator.study.evaluate import evaluate_on

    evaluate_on(loaded, model)


@app.command()
def forecast(
    study: StudyFile,
    overlays: Overlays = None,
    settings: Settings = None,
    output: Output = None,
    fit: Annotated[
        bool,
        typer.Option(help="Fit the two constants of forecast.quadratic to a study that has run."),
    ] = False,
) -> None:
    """Say before a study runs which of its arms will end ahead, and after it how right that was."""
    if fit:
        from orchestrator.study.fit import fit_study

        found = fit_study(load(study, overlays, settings, output))
        print(
            f"{{scale: {found.scale:.3g}, curvature: {found.curvature:.3g}}}  # off by "
            f"{found.error:.3f} nats in the query curves, with both at 1 by {found.derived:.3f}"
        )
        return
    from orchestrator.study.shown_forecasts import forecast_study

    if not forecast_study(load(study, overlays, settings, output)):
        raise typer.Exit(1)


@app.command()
def verify(folder: StudyFolder) -> None:
    """Prove from the files that every trial was fed its plan, and that no table was changed."""
    from orchestrator.cli.verify import print_proofs

    if not print_proofs(folder):
        raise typer.Exit(1)


@app.command()
def status(folder: StudyFolder) -> None:
    """Show how far a study is while it runs: what is done, running and failed, and the time left.

    Only reads the folder of the study.
    """
    from orchestrator.cli.status import print_status
    from orchestrator.report.status import read_status

    print_status(read_status(folder))


@app.command()
def report(folder: StudyFolder) -> None:
    """Build the report of a study again."""
    from orchestrator.report.build import build_report

    print(build_report(folder))


@app.command()
def sync(folder: StudyFolder) -> None:
    """Send to MLflow what a study could not send while it ran."""
    from orchestrator.storage.lock import locked
    from orchestrator.tracking import read_record
    from orchestrator.tracking import sync as send

    read_record(folder)  # no lock file in a folder that is not a study's
    with locked(folder):
        unsent = send(folder)
    if unsent:
        raise UserError(str(unsent))
    print(f"{folder}: MLflow has all of it")


@app.command()
def ui(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The output folder, or one of its studies.")
    ] = Path("outputs"),
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000,
) -> None:
    """Open MLflow on 127.0.0.1, and say where in it each study is."""
    from orchestrator.cli.ui import open_ui

    open_ui(folder, port)


def _print_estimate(study: Study, gpu: str | None = None, price: float | None = None) -> None:
    from orchestrator.screen import plain_console
    from orchestrator.study.estimate import estimate_study

    estimate_study(study, plain_console(), gpu, price)
