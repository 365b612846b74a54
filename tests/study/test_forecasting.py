"""When a forecast may be made, and that it is made once."""

import json

import numpy as np
import pytest
import yaml

from orchestrator.cli.commands import app
from orchestrator.config import load_study
from orchestrator.config.layout import Layout
from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.errors import ConfigError, DataError
from orchestrator.forecast import FORECASTERS
from orchestrator.forecast.forecaster import Abstains, Expectation
from orchestrator.screen import Screen
from orchestrator.study.forecasting import (
    forecast_tags,
    forecasters_to_ask,
    mark_begun,
    studies_before,
    too_late,
    unwritten,
    write_forecasts,
)
from orchestrator.study.shown_forecasts import forecast_study
from orchestrator.trials import expand
from tests.forecast.made_up import STEPS, TASKS, request_of, study_of

ASKED = {"forecast": {"forecasters": ["distance", "proxy"]}}


@pytest.fixture
def asked(tmp_path):
    """A study behind its plans that asks two forecasters."""
    study = study_of("main", ["nearest_first", "random"], **ASKED)
    return request_of(study.model_copy(update={"output": str(tmp_path)}), tmp_path)


@pytest.fixture
def forecasters(monkeypatch):
    """One that expects each trial at a level of its own, and one that has nothing to say."""

    def expecting(request):
        levels = {trial.name: 3.0 - at for at, trial in enumerate(request.trials)}
        return Expectation(
            {
                name: {"query": TaskCurves(STEPS, TASKS, np.full((3, 3), level))}
                for name, level in levels.items()
            },
            {},
        )

    def abstaining(request):
        raise Abstains("nobody knows")

    monkeypatch.setitem(FORECASTERS, "distance", expecting)
    monkeypatch.setitem(FORECASTERS, "proxy", abstaining)


def write(request, names):
    write_forecasts(names, request, request.output / "main", Screen())


def begin(request):
    """The first step of a trial."""
    (request.specs[0].folder / "journal.jsonl").write_text('{"event": "start", "step": 0}\n')


def test_a_forecast_is_made_once_and_an_abstention_is_none(asked, forecasters, capsys):
    layout = Layout.of(asked.study)
    assert unwritten(asked.study, layout) == ["distance", "proxy"]
    write(asked, ["distance", "proxy"])
    assert "none: nobody knows" in capsys.readouterr().out
    assert unwritten(asked.study, layout) == ["proxy"]
    path = layout.folder / "forecasts" / "distance.json"
    assert forecast_tags(layout.folder) == {
        "forecast.distance": json.loads(path.read_text())["sha256"]
    }
    with pytest.raises(FileExistsError):
        write(asked, ["distance"])


def test_once_a_trial_has_begun_nothing_is_forecast_and_no_proxy_is_trained(asked, capsys):
    layout = Layout.of(asked.study)
    (first,) = studies_before(asked.study, asked.trials, layout)
    assert first.study == "main-proxy"
    begin(asked)
    assert studies_before(asked.study, asked.trials, layout) == []
    assert forecasters_to_ask(asked.study, asked.trials, layout, Screen()) == []
    told = capsys.readouterr().out
    assert "no forecast by distance and proxy: a forecast is made before the first step" in told


def test_a_trial_has_begun_for_good_whatever_a_new_attempt_removes(asked):
    layout = Layout.of(asked.study)
    mark_begun(asked.trials[1:], layout)
    mark_begun(asked.trials[:1], layout)
    assert too_late(asked.trials[1:], layout)
    with pytest.raises(DataError, match=f"{asked.trials[0].name} has begun"):
        forecast_study(asked.study)
    others = expand(study_of("main", ["farthest_first"]))
    assert not too_late(others, layout)


def test_the_command_tells_of_a_forecaster_that_comes_too_late_beside_another(
    asked, forecasters, capsys
):
    write(asked, ["distance"])
    begin(asked)
    assert forecast_study(asked.study)
    told = capsys.readouterr().out
    assert "no forecast by proxy: a forecast is made before the first step" in told
    assert "no forecast by distance" not in told


def test_the_command_refuses_a_forecast_that_comes_too_late(asked):
    begin(asked)
    with pytest.raises(DataError, match=f"{asked.trials[0].name} has begun"):
        forecast_study(asked.study)


def test_the_command_shows_what_was_forecast_and_refuses_what_was_changed(
    asked, forecasters, tmp_path, capsys
):
    write(asked, ["distance"])
    begin(asked)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(asked.study.model_dump(mode="json", exclude_unset=True)))
    assert forecast_study(load_study(file))
    shown = capsys.readouterr().out
    assert "distance" in shown
    assert "Not scored yet: 2 of its 2 trials have not finished." in shown
    path = tmp_path / "main" / "forecasts" / "distance.json"
    path.write_text(path.read_text().replace('"arm": "random"', '"arm": "rando"'))
    with pytest.raises(SystemExit) as ended:
        app(["forecast", str(file)])
    assert ended.value.code == 1
    assert "wrong The forecast distance.json was changed" in capsys.readouterr().out


def test_a_forecast_of_other_trials_is_kept_and_told(asked, forecasters, capsys):
    write(asked, ["distance"])
    layout = Layout.of(asked.study)
    assert forecasters_to_ask(asked.study, asked.trials[:1], layout, Screen()) == ["proxy"]
    assert "is of other trials than the study has now" in capsys.readouterr().out


def test_a_proxy_whose_model_is_not_there_is_refused_by_the_estimate(asked, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(asked.study.model_dump(mode="json", exclude_unset=True)))
    with pytest.raises(ConfigError, match="the model folder /nowhere does not exist"):
        app(["estimate", str(file), "--set", "forecast.proxy.model=/nowhere"])


def test_a_study_with_a_search_has_no_arms_to_forecast(tmp_path):
    sweep = {
        "parameters": {"training.learning_rate": {"loguniform": [1e-6, 1e-4]}},
        "search": {"type": "optuna"},
    }
    study = study_of("main", ["random"])
    searched = study.model_copy(update={"sweep": type(study.sweep).model_validate(sweep)})
    with pytest.raises(ConfigError, match=r"sweep\.search"):
        forecast_study(searched)
