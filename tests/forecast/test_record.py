"""What is written of a forecast: arms over seeds, pairs with their probabilities, intervals."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.forecast.forecaster import Expectation
from orchestrator.forecast.record import make_record
from orchestrator.storage.ledger import Line
from orchestrator.storage.sealed import write_sealed
from tests.core.statistics.made_up import apart
from tests.forecast.made_up import STEPS, TASKS, request_of, study_of

ORDERS = ["nearest_first", "random", "farthest_first"]
SWEEP = {"parameters": {"arrangement.order": {"grid": ORDERS}, "seed": {"grid": [0, 1]}}}


@pytest.fixture
def request_with_seeds(tmp_path):
    study = study_of("main", ORDERS)
    sweep = type(study.sweep).model_validate(SWEEP)
    return request_of(study.model_copy(update={"sweep": sweep}), tmp_path)


def curves(end):
    """Curves that fall from 3 to an end, the same for every task but by a level of its own."""
    course = np.linspace(3, end, len(STEPS))[:, None] + np.arange(len(TASKS))
    return TaskCurves(STEPS, TASKS, course)


def written(request, ends, *, equal=(), ledger=(), sized=True):
    """The record where arms are expected to end so, and arms of `equal` have one plan."""
    certificates = {
        spec.key: {"order_sha256": "same" if trial.arm in equal else spec.key}
        for trial, spec in zip(request.trials, request.specs, strict=True)
    }
    losses = {
        trial.name: {"query": curves(ends[trial.arm])}
        for trial in request.trials
        if trial.arm in ends
    }
    expectation = Expectation(losses, {"constants": 1}, sized)
    request = replace(request, certificates=certificates)
    return make_record("distance", expectation, request, list(ledger))


def test_every_arm_has_its_mean_over_seeds_and_every_pair_a_probability(request_with_seeds):
    ends = {"nearest_first": 1.0, "random": 1.5, "farthest_first": 2.5}
    record = written(request_with_seeds, ends)
    section = record["sets"]["query"]
    assert list(section["curves"]) == ORDERS
    assert section["curves"]["random"]["losses"] == pytest.approx([4, 3.25, 2.5])
    ahead = {(pair["a"], pair["b"]): pair["probability"] for pair in section["pairs"]}
    assert 0.5 < ahead["nearest_first", "random"] < ahead["nearest_first", "farthest_first"] < 1
    assert len(record["trials"]) == 6
    assert record["origin"] == {"constants": 1}


def test_the_interval_is_half_of_the_expected_change_without_a_record(request_with_seeds):
    curve = written(request_with_seeds, dict.fromkeys(ORDERS, 1.0))["sets"]["query"]["curves"]
    low, losses = (np.array(curve["random"][key]) for key in ("low", "losses"))
    np.testing.assert_allclose(losses - low, 1.96 * 0.5 * np.array([0, 1, 2]), rtol=1e-4)
    order = written(request_with_seeds, dict.fromkeys(ORDERS, 1.0), sized=False)
    assert "low" not in order["sets"]["query"]["curves"]["random"]


def test_arms_with_equal_plans_and_training_are_left_at_one_half(request_with_seeds):
    ends = {"nearest_first": 1.0, "random": 1.5, "farthest_first": 2.5}
    record = written(request_with_seeds, ends, equal=("nearest_first", "random"))
    ahead = {(p["a"], p["b"]): p["probability"] for p in record["sets"]["query"]["pairs"]}
    assert ahead["nearest_first", "random"] == 0.5
    assert ahead["nearest_first", "farthest_first"] > 0.5


def test_a_forecaster_with_a_better_record_is_surer(request_with_seeds):
    ends = {"nearest_first": 1.0, "random": 1.5}
    ledger = [Line("digest", "distance", "before", "trials", "", "", {"query": apart(45, 50)})]
    unknown, known = (
        written(request_with_seeds, ends, ledger=lines)["sets"]["query"]["pairs"][0]["probability"]
        for lines in ([], ledger)
    )
    assert unknown == pytest.approx(2 / 3)
    assert known == pytest.approx(47 / 53)


def test_an_arm_of_which_a_trial_is_not_known_is_left_out(request_with_seeds):
    request = request_with_seeds
    (known, *_, other) = request.trials
    expectation = Expectation({known.name: {"query": curves(1)}, other.name: {}}, {})
    record = make_record("distance", expectation, request, [])
    assert record["sets"]["query"]["curves"] == {}


def test_a_record_can_be_sealed(request_with_seeds, tmp_path):
    write_sealed(tmp_path / "a.json", written(request_with_seeds, dict.fromkeys(ORDERS, 1.0)))
