"""`orchestrator forecast`: what a study's arms are expected to come to, and how right that was."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table as ScreenTable

from orchestrator.config import Study
from orchestrator.config.forecast import Forecast
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.report.forecast_tables import ForecastSection, forecast_section
from orchestrator.report.read import read_study
from orchestrator.report.tables import Table
from orchestrator.report.trial import Trial
from orchestrator.screen import Screen, plain_console, print_text, quiet_streams, shown_path
from orchestrator.storage.files import FORECASTS_FOLDER, LOGS_FOLDER, SUMMARY_FILE
from orchestrator.storage.lock import locked
from orchestrator.study.checks import check_before_ray
from orchestrator.study.forecasting import forecasters_to_ask, studies_before, too_late, unwritten
from orchestrator.study.run import Run, run_study
from orchestrator.trials import Expansion, expansion

LOG = "forecast.log"


def forecast_study(study: Study) -> bool:
    """Forecast a study unless that was done before, and show each forecast with what became of it.

    A study without the section `forecast` is asked of the forecasters that train nothing.

    Returns:
        Whether every forecast is as it was written.

    Raises:
        UserError: what `run_study` refuses; no forecast was made, and a trial has begun.
    """
    if study.forecast is None:
        study = study.model_copy(update={"forecast": Forecast()})
    layout, expanded = Layout.of(study), expansion(study)
    forecasts = layout.folder / FORECASTS_FOLDER
    reason = too_late(expanded.trials, layout)
    if reason and not any(forecasts.glob("*.json")):
        raise DataError(reason)
    if unwritten(study, layout) and not reason:
        _make(study, expanded, layout)
    else:
        forecasters_to_ask(study, expanded.trials, layout, Screen())  # tells who is not asked
    section = forecast_section(layout.folder, _trials(layout))
    _print(section, layout)
    return not section.faults


def _make(study: Study, expanded: Expansion, layout: Layout) -> None:
    """All of a run that comes before its first step."""
    check_before_ray(study, expanded.trials, layout)
    for first in studies_before(study, expanded.trials, layout):
        run_study(first)
    log = layout.folder / LOGS_FOLDER / LOG
    with (
        locked(layout.folder),
        quiet_streams(log) as console,
        Screen(console) as screen,
        Run(study, expanded, layout, screen).prepared(),
    ):
        pass


def _trials(layout: Layout) -> list[Trial]:
    """The trials of a study as it left them; none before it ran."""
    return read_study(layout.folder).trials if (layout.folder / SUMMARY_FILE).is_file() else []


def _print(section: ForecastSection, layout: Layout) -> None:
    console = plain_console()
    for fault in section.faults:
        print_text(console, f"[red]  wrong[/] {escape(fault)}")
    for part in section.parts:
        print_text(console, f"\n[bold]{part.foretold.name}[/]  {escape(part.made)}")
        for table in filter(None, (part.arms, part.scores)):
            console.print(_screen_table(table))
        for sentence in part.sentences:
            print_text(console, escape(sentence))
    if section.parts:
        folder = shown_path(layout.folder / FORECASTS_FOLDER)
        print_text(console, f"\nforecasts {escape(folder)}")


def _screen_table(table: Table) -> ScreenTable:
    """A table of the report, on the terminal."""
    shown = ScreenTable(box=None, pad_edge=False, header_style="bold")
    for place, header in enumerate(table.headers):
        numbers = any(row[place].kind == "number" for row in table.rows)
        shown.add_column(header, justify="right" if numbers else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(escape(cell.text) for cell in row))
    return shown
