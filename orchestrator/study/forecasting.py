"""The stage between a study's plans and its first step: what its forecasters expect."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config import Study
from orchestrator.config.forecast import ForecasterName
from orchestrator.config.layout import Layout
from orchestrator.errors import DataError
from orchestrator.forecast import FORECASTERS
from orchestrator.forecast.forecaster import Abstains, Request
from orchestrator.forecast.quadratic import other_constants
from orchestrator.forecast.record import make_record
from orchestrator.report.forecast_tables import forecast_sentences, section_of
from orchestrator.report.forecasts import forecast_metrics, read_forecasts, settle_forecasts
from orchestrator.report.read import read_study
from orchestrator.screen import Screen, shown_path
from orchestrator.storage.artifacts import write_text
from orchestrator.storage.files import BEGUN_FILE, FORECASTS_FOLDER, JOURNAL_FILE
from orchestrator.storage.ledger import read_ledger
from orchestrator.storage.sealed import SEAL, read_sealed, write_sealed
from orchestrator.trials import Trial
from orchestrator.trials.proxy import proxies


def forecast_file(folder: Path, forecaster: str) -> Path:
    """Where a study's folder holds the forecast of a forecaster."""
    return folder / FORECASTS_FOLDER / f"{forecaster}.json"


def unwritten(study: Study, layout: Layout) -> list[ForecasterName]:
    """The forecasters that a study asks for and of which it holds no forecast."""
    asked = study.forecast.forecasters if study.forecast else []
    names = dict.fromkeys(asked)
    return [name for name in names if not forecast_file(layout.folder, name).is_file()]


def mark_begun(trials: list[Trial], layout: Layout) -> None:
    """Write down that trials begin now, for good: of these no forecast is made any more."""
    names = dict.fromkeys([*_begun(layout), *(trial.name for trial in trials)])
    write_text(layout.folder / BEGUN_FILE, "".join(f"{name}\n" for name in names))


def _begun(layout: Layout) -> list[str]:
    path = layout.folder / BEGUN_FILE
    return path.read_text(encoding="utf-8").split() if path.is_file() else []


def too_late(trials: list[Trial], layout: Layout) -> str:
    """Why nothing can be forecast any more, in a sentence; empty while no trial has begun."""
    known = _begun(layout)
    begun = [
        trial.name
        for trial in trials
        # A study of an earlier version has journals alone, which a new attempt removes.
        if trial.name in known or (layout.trial(trial.name) / JOURNAL_FILE).is_file()
    ]
    if not begun:
        return ""
    return (
        f"a forecast is made before the first step, and {begun[0]} has begun: to forecast the "
        f"study anew, give it another name, or remove {layout.folder}"
    )


def studies_before(study: Study, trials: list[Trial], layout: Layout) -> list[Study]:
    """The studies that a forecast of this one needs to be run first: that of its proxy, if any."""
    wanted = "proxy" in unwritten(study, layout) and not too_late(trials, layout)
    return proxies(study) if wanted else []


def forecasters_to_ask(
    study: Study, trials: list[Trial], layout: Layout, screen: Screen
) -> list[ForecasterName]:
    """Whose forecasts are still to be made; where it is too late for them, that is told."""
    names = unwritten(study, layout)
    for path in sorted((layout.folder / FORECASTS_FOLDER).glob("*.json")):
        try:
            others = read_sealed(path)["trials"].keys() != {trial.name for trial in trials}
        except DataError as error:
            screen.tell(str(error))
            continue
        if others:
            screen.tell(
                f"{shown_path(path)} is of other trials than the study has now, and is kept as it "
                "is: remove it to forecast these"
            )
    if names and (reason := too_late(trials, layout)):
        screen.tell(f"no forecast by {' and '.join(names)}: {reason}", "note")
        return []
    if "quadratic" in names and (odd := other_constants(study, trials)):
        screen.tell(odd, "note")
    return names


def write_forecasts(
    names: list[ForecasterName], request: Request, folder: Path, screen: Screen
) -> None:
    """Ask the forecasters, and write down what each of them expects.

    Args:
        folder: of the study.

    Raises:
        DataError: the ledger of the output folder cannot be read.
    """
    ledger = read_ledger(request.output)
    for name in names:
        line = screen.line(f"forecast {name}")
        try:
            expectation = FORECASTERS[name](request)
        except Abstains as reason:
            line.done(f"none: {reason}")
            continue
        path = forecast_file(folder, name)
        write_sealed(path, make_record(name, expectation, request, ledger))
        line.done(shown_path(path))


def forecast_tags(folder: Path) -> dict[str, str]:
    """The digest of each forecast of a study, as tags of its run in MLflow."""
    tags = {}
    for path in sorted((folder / FORECASTS_FOLDER).glob("*.json")):
        try:
            tags[f"forecast.{path.stem}"] = read_sealed(path)[SEAL]
        except DataError:
            tags[f"forecast.{path.stem}"] = "changed"
    return tags


def settle(folder: Path, screen: Screen) -> tuple[list[str], dict[str, float]]:
    """Score the forecasts of a study that ended, for the ledger.

    Returns:
        What there is to say of them, and their scores as metrics of MLflow.
    """
    if not (folder / FORECASTS_FOLDER).is_dir():
        return [], {}
    foretold, faults = read_forecasts(folder, read_study(folder).trials)
    try:
        settle_forecasts(folder, foretold)
    except DataError as error:
        screen.tell(f"the forecasts are not in the ledger: {error}")
    sentences = forecast_sentences(section_of(foretold, faults, folder.parent))
    return sentences, forecast_metrics(foretold)
