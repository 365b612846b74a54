"""What a fit of constants reads of a study that ran, and that it leaves the study as it is."""

import hashlib

import numpy as np
import pytest
import yaml

from orchestrator.cli.commands import app
from orchestrator.errors import DataError
from orchestrator.study.fit import trained_trials
from tests.forecast.made_up import ROWS, STEPS, TASKS, finish, request_of, study_of


def contents(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_plans_and_query_losses_of_finished_trials_are_read_and_nothing_is_changed(tmp_path):
    study = study_of("main", ["nearest_first", "random"])
    losses = np.arange(2.0 * len(STEPS) * len(TASKS)).reshape(2, len(STEPS), len(TASKS))
    request = finish(study, tmp_path, losses)
    summary = tmp_path / "main" / "summary.csv"
    summary.write_text(summary.read_text().replace(",finished", ",failed", 1))
    before = contents(tmp_path)
    ((name, trial),) = trained_trials(tmp_path / "main").items()
    assert contents(tmp_path) == before
    assert name == request.trials[1].name
    assert trial.config == request.trials[1].config
    assert trial.plan.tolist() == list(range(ROWS))
    assert trial.steps.tolist() == STEPS.tolist()
    assert np.allclose(trial.losses, losses[1].mean(axis=1))


def test_a_study_of_which_no_trial_finished_is_refused(tmp_path, capsys):
    study = study_of("main", ["random"]).model_copy(update={"output": str(tmp_path)})
    finish(study, tmp_path, np.ones((1, len(STEPS), len(TASKS))))
    summary = tmp_path / "main" / "summary.csv"
    summary.write_text(summary.read_text().replace(",finished", ",failed"))
    with pytest.raises(DataError, match="has no trial that finished, to which constants would fit"):
        trained_trials(tmp_path / "main")


def test_a_study_that_never_ran_is_refused_before_anything_starts(tmp_path, capsys):
    study = study_of("main", ["random"]).model_copy(update={"output": str(tmp_path)})
    request_of(study, tmp_path)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json", exclude_unset=True)))
    with pytest.raises(DataError, match=r"main holds no summary\.csv"):
        app(["forecast", str(file), "--fit"], standalone_mode=False)
