"""The forecast by a proxy: the same arms, trained at less cost, and the order in which they end.

The proxy is a study of its own, `<study>-proxy`, with what the section `forecast.proxy` says in the
place of the study's own settings: it is run, resumed, proved and reported like any other, before
the study begins.
Its arms are expected to end in the study in the order in which they end there.

Only the order is forecast. Another model has other losses, and at a very small learning rate a loss
moves by a part of what it will move by at the study's; no scale between the two is known before the
study has run.
"""

from __future__ import annotations

import json

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.errors import DataError
from orchestrator.forecast.forecaster import Abstains, Expectation, Request
from orchestrator.report.figures import SETS
from orchestrator.report.read import read_study
from orchestrator.trials import Trial, expand
from orchestrator.trials.proxy import proxy_study


def forecast(request: Request) -> Expectation:
    """The order of the arms in the proxy, on every test set.

    Raises:
        Abstains: no trial of it finished.
    """
    study = proxy_study(request.study)
    folder = request.output / study.study
    try:
        finished = {trial.name: trial for trial in read_study(folder).trials if trial.finished}
    except DataError:
        finished = {}
    names = {_settings(trial): trial.name for trial in expand(study)}
    losses: dict[str, dict[str, TaskCurves]] = {}
    certificates: dict[str, str] = {}
    for trial in request.trials:
        if (trained := finished.get(names.get(_settings(trial), ""))) is None:
            continue
        curves = {name: trained.task_losses(name) for name in SETS}
        losses[trial.name] = {name: curve for name, curve in curves.items() if curve is not None}
        certificates[trial.name] = trained.summary["order_sha256"]
    if not losses:
        raise Abstains(f"no trial of the study {study.study} finished")
    origin = {"study": study.study, "order_sha256": certificates}
    return Expectation(losses, origin, sized=False)


def _settings(trial: Trial) -> str:
    """What the sweep set in a trial, which it and its proxy have in common."""
    return json.dumps(trial.settings, sort_keys=True)
