"""The forecast by distance, from earlier studies whose losses follow the distance exactly."""

from dataclasses import replace

import numpy as np
import pytest

from orchestrator.forecast.distance import forecast
from orchestrator.forecast.forecaster import Abstains
from orchestrator.trials import expand
from tests.forecast.made_up import STEPS, TASKS, finish, request_of, study_of, write_distances

ORDERS = ["nearest_first", "random", "farthest_first"]
NEAR = np.array([-0.8, -0.6, -0.4])  # of the three arms, to every task
SLOPE = 2.0


def losses_at(near):
    """Losses (S, T) that drop by a course of their own, and by `SLOPE` a unit of distance."""
    course = np.array([0.0, 1.0, 1.5])[:, None] + np.zeros(len(TASKS))
    further = -SLOPE * near * (STEPS > 0)[:, None]
    return 4 + np.arange(len(TASKS)) - course - further


def everywhere(near):
    return np.full((len(STEPS) - 1, len(TASKS)), near)


@pytest.fixture
def earlier(tmp_path):
    study = study_of("earlier", ORDERS)
    finish(study, tmp_path, [losses_at(near) for near in NEAR], [everywhere(near) for near in NEAR])
    return tmp_path


def asked(output, near, name="later", orders=("random",), **sections):
    """A study whose plans have these distances; of a seed that no earlier one had."""
    request = request_of(study_of(name, list(orders), **{"seed": 1} | sections), output)
    for spec, distance in zip(request.specs, near, strict=True):
        write_distances(spec.folder, everywhere(distance))
    return request


def test_a_nearer_plan_is_expected_to_lower_losses_by_as_much_as_nearness_did_before(earlier):
    request = asked(earlier, [-0.75, -0.5], orders=("random", "nearest_first"))
    expectation = forecast(request)
    assert expectation.sized
    assert [*expectation.origin["studies"]] == ["earlier"]
    assert expectation.origin["studies"]["earlier"]["arms"] == len(ORDERS)
    for trial, near in zip(request.trials, [-0.75, -0.5], strict=True):
        curves = expectation.losses[trial.name]["query"]
        assert (curves.steps.tolist(), curves.tasks) == (STEPS.tolist(), TASKS)
        np.testing.assert_allclose(curves.losses, losses_at(near))


def test_its_own_losses_are_never_looked_at(earlier):
    before = forecast(asked(earlier, [-0.7])).losses
    finish(
        study_of("later", ["random"], seed=1), earlier, [np.full((3, 3), 99.0)], [everywhere(-0.7)]
    )
    again = forecast(asked(earlier, [-0.7])).losses
    for name, curves in before.items():
        np.testing.assert_array_equal(curves["query"].losses, again[name]["query"].losses)


def test_its_own_trials_under_the_name_of_another_study_are_never_looked_at(earlier):
    request = asked(earlier, NEAR, orders=ORDERS, seed=0)
    with pytest.raises(Abstains, match="other than those of this one"):
        forecast(request)
    one_arm = forecast(asked(earlier, NEAR[:1], orders=["nearest_first"], seed=0))
    assert one_arm.origin["studies"]["earlier"]["arms"] == len(ORDERS) - 1


def test_what_was_fed_the_same_rows_in_the_same_order_is_its_own_whatever_its_settings(earlier):
    request = asked(earlier, [-0.7])
    orders = [{"order_sha256": trial.key} for trial in expand(study_of("earlier", ORDERS))]
    for count, arms in ((1, 2), (2, None)):
        same = dict(enumerate(orders[:count]))
        known = replace(request, certificates=request.certificates | same)
        if arms is None:
            with pytest.raises(Abstains):
                forecast(known)
        else:
            assert forecast(known).origin["studies"]["earlier"]["arms"] == arms


def test_a_schedule_of_another_length_does_not_compare(earlier):
    with pytest.raises(Abstains, match="steps"):
        forecast(asked(earlier, [-0.7], training={"max_steps": 8}))
    as_long = {"max_steps": int(STEPS[-1])}
    assert forecast(asked(earlier, [-0.7], training=as_long)).losses


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"learning_rate": 1e-3}},
        {"model": {"name": "random:tiny-llama"}},
        {"model": {"precision": "float32"}},
        {"embedding": {"model": "random:tiny-bert"}},
        {"evaluation": {"max_length": 77}},
    ],
)
def test_studies_that_do_not_compare_are_not_asked(earlier, sections):
    with pytest.raises(Abstains, match="no finished study of the same output folder"):
        forecast(asked(earlier, [-0.7], **sections))


def test_where_and_how_fast_a_study_computed_makes_no_difference(earlier):
    faster = {"workers": 2, "zero_stage": 2, "micro_batch_tokens": 128}
    assert forecast(asked(earlier, [-0.7], training=faster)).losses


def test_without_an_earlier_study_or_measures_it_abstains(tmp_path, earlier):
    with pytest.raises(Abstains):
        forecast(asked(tmp_path / "empty", [-0.7]))
    request = request_of(study_of("unmeasured", ["random"]), earlier)
    with pytest.raises(Abstains, match="measures of their plans"):
        forecast(request)
