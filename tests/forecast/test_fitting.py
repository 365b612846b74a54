"""The constants of the quadratic model are found again in curves that they made."""

import numpy as np
import pytest

from orchestrator.config import TrialConfig
from orchestrator.forecast.fitting import Trained, fit, mean_curve
from orchestrator.forecast.quadratic import Models
from orchestrator.stages.influence import course_of
from tests.forecast.artifacts import Drawn
from tests.stages.influences import SPLITS

QUERIES = SPLITS["pool"] + np.arange(SPLITS["query"])


def trained(artifacts, seed, rate, scale, curvature):
    """A trial whose losses are those that the model has with some constants."""
    config = TrialConfig.model_validate({
        "data": {name: {"reader": "builtin", "split": name} for name in ("pool", "query")},
        "training": {"global_batch": 5, "learning_rate": rate},
    })  # fmt: skip
    plan = np.random.default_rng(seed).permutation(SPLITS["pool"])[:20]
    trial = Trained(config, plan, np.array([0, 1, 3, 4]), np.zeros(4))
    curve = mean_curve(Models(artifacts).of(config), trial, QUERIES)
    return Trained(config, plan, trial.steps, curve(scale, curvature))


def test_constants_that_made_the_curves_of_several_trials_are_found_again(tmp_path):
    artifacts = Drawn(tmp_path)
    trials = [trained(artifacts, *of, 0.3, 0.2) for of in ((0, 0.05), (1, 0.05), (0, 0.2))]
    found = fit(artifacts, trials)
    assert (found.scale, found.curvature) == pytest.approx((0.3, 0.2), rel=1e-2)
    assert found.error < 1e-4 < found.derived


def test_a_mean_curve_is_that_of_its_rows_with_an_answer(tmp_path):
    artifacts = Drawn(tmp_path)
    trial = trained(artifacts, 0, 0.05, 1.0, 1.0)
    known = Models(artifacts, 0.5).of(trial.config)
    curve = mean_curve(Models(artifacts).of(trial.config), trial, QUERIES)
    assert np.isnan(known.losses[QUERIES[-1]])
    places = known.model.follow(trial.plan, course_of(trial.config))[trial.steps]
    each = known.model.losses(places, known.tests[QUERIES[:-1]], known.losses[QUERIES[:-1]])
    assert np.allclose(curve(1.0, 0.5), each.mean(axis=1), rtol=1e-12)
