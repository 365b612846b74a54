"""`orchestrator forecast --fit`: what a finished study tells of the constants of `quadratic`."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config import Study, TrialConfig
from orchestrator.config.layout import Layout
from orchestrator.config.load import check_settings
from orchestrator.errors import DataError
from orchestrator.forecast.fitting import Fit, Trained, fit
from orchestrator.report.read import read_study
from orchestrator.report.trial import Trial
from orchestrator.screen import Screen, quiet_streams
from orchestrator.storage.files import LOGS_FOLDER
from orchestrator.storage.lock import locked
from orchestrator.study.cluster import cluster, threads
from orchestrator.study.shown_forecasts import LOG
from orchestrator.study.token_artifacts import TokenArtifacts
from orchestrator.trials import expand


def fit_study(study: Study) -> Fit:
    """Fit the constants to the trials that a study finished.

    Of the study's folder plans, configurations and losses are read, and of the store the
    gradients, which are made if it has none. No trial is laid out, which would remove the results
    of one whose configuration has changed.

    Raises:
        UserError: no trial has finished, or another process works in the study's folder.
    """
    layout = Layout.of(study)
    trials = trained_trials(layout.folder)
    log = layout.folder / LOGS_FOLDER / LOG
    with (
        locked(layout.folder),
        quiet_streams(log) as console,
        Screen(console) as screen,
        cluster(threads(study, expand(study))),
    ):
        return fit(TokenArtifacts(layout, screen), list(trials.values()))


def trained_trials(study_dir: Path) -> dict[str, Trained]:
    """The trials that a study finished, by their names, as its folder has them.

    Raises:
        DataError: there are none, or the study never ran.
    """
    trials = [trial for trial in read_study(study_dir).trials if trial.finished]
    if not trials:
        raise DataError(f"{study_dir} has no trial that finished, to which constants would fit")
    return {trial.name: _trained(trial) for trial in trials}


def _trained(trial: Trial) -> Trained:
    config = check_settings(TrialConfig, trial.config, f"{trial.name}: config.yaml")
    steps, losses = trial.mean_losses("query")
    return Trained(config, trial.tables["plan"]["row"].to_numpy(), steps, losses)
