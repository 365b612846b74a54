"""The forecast by gradients, over artifacts as the store would have them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.config import Study, dump_yaml
from orchestrator.core.quadratic import Quadratic
from orchestrator.forecast.forecaster import Abstains, Request
from orchestrator.forecast.quadratic import forecast, other_constants
from orchestrator.stages.influence import course_of, row_mass
from orchestrator.training.spec import TrialSpec
from orchestrator.trials import expand
from tests.forecast.artifacts import Drawn
from tests.stages.influences import SPLITS

STUDY = {
    "study": "small",
    "data": {
        name: {"reader": "builtin", "split": name}
        for name in ("pool", "query", "held_out", "off_target")
    },
    "arrangement": {"method": "random", "rows": 20},
    "training": {"global_batch": 6, "learning_rate": 0.05},
    "evaluation": {"every": 2},
    "sweep": {"parameters": {"seed": {"grid": [0, 1]}}},
}


@pytest.fixture
def asked(tmp_path):
    """Makes the request of a study whose trials have drawn plans."""

    def make(**changes):
        study = Study.model_validate(STUDY | changes)
        artifacts, trials = Drawn(tmp_path / study.study / "store"), expand(study)
        specs = []
        for trial in trials:
            folder = tmp_path / study.study / trial.name
            folder.mkdir()
            rows = np.random.default_rng(trial.config.seed).permutation(SPLITS["pool"])[:20]
            pq.write_table(pa.table({"row": rows}), folder / "plan.parquet")
            store = tmp_path / study.study / "store"
            specs.append(
                TrialSpec(trial.name, trial.key, trial.config, store, "", store / "dataset",
                          store / "tokens", "", folder, store)
            )  # fmt: skip
        return Request(study, trials, specs, artifacts, tmp_path, {})

    return make


def test_every_trial_and_test_set_is_foretold_task_by_task_at_the_steps_of_its_evaluation(asked):
    request = asked()
    expected = forecast(request)
    vectors = np.load(request.artifacts.influence(None).path / "vectors.npy").astype(float)
    phi, losses = vectors[:, :-1], vectors[:, -1]
    counts = np.load(request.specs[0].tokens / "answer.npy").reshape(-1, 9).sum(axis=1)
    for trial, spec in zip(request.trials, request.specs, strict=True):
        model = Quadratic(phi[:30], row_mass(counts[:30], "token_mean"))
        plan = pq.read_table(spec.folder / "plan.parquet")["row"].to_numpy()
        places = model.follow(plan, course_of(trial.config))[[0, 2, 4]]
        curves = expected.losses[trial.name]
        assert list(curves) == ["query", "held_out", "off_target"]
        rows = np.array([30, 33])  # of task 0; the last query has no answer
        query = curves["query"]
        assert (query.steps.tolist(), query.tasks) == ([0, 2, 4], ["task 0", "task 1", "task 2"])
        each = model.losses(places, model.turned(phi[rows]), losses[rows])
        assert np.allclose(query.losses[:, 0], each.mean(axis=1))
        # The only other query of task 2 is not answered.
        assert np.allclose(query.losses[0], [losses[[30, 33]].mean(), losses[[31, 34]].mean(),
                                             losses[32]])  # fmt: skip
        assert curves["off_target"].tasks == [f"row {row}" for row in range(41, 45)]
        assert np.allclose(curves["off_target"].losses[0], losses[41:])
        assert not any(np.isnan(curve.losses).any() for curve in curves.values())
    ends = [curves["query"].losses[-1].mean() for curves in expected.losses.values()]
    assert ends[0] != ends[1]
    assert not expected.sized  # nothing is known of the constants
    assert expected.origin == {"scale": 1.0, "curvature": 1.0, "influence": ["influence0"]}


def test_a_scale_multiplies_the_learning_rates_and_the_curvature_is_another_constant(asked):
    scaled = {"forecasters": ["quadratic"], "quadratic": {"scale": 0.5}}
    soft = {"forecasters": ["quadratic"], "quadratic": {"scale": 0.5, "curvature": 0.1}}
    slow = {"training": STUDY["training"] | {"learning_rate": 0.025}, "study": "slow"}
    one = forecast(asked(forecast=scaled))
    other = forecast(asked(**slow))
    pairs = zip(one.losses.values(), other.losses.values(), strict=True)
    assert all(np.allclose(a["query"].losses, b["query"].losses) for a, b in pairs)
    assert one.origin["scale"] == 0.5
    assert one.sized
    pairs = zip(one.losses.values(), forecast(asked(study="soft", forecast=soft)).losses.values(),
                strict=True)  # fmt: skip
    assert not any(np.allclose(a["query"].losses, b["query"].losses) for a, b in pairs)


@pytest.mark.parametrize("section", [{}, {"quadratic": {"scale": 0.2}}])
def test_a_resolved_study_with_a_forecast_loads_again(section):
    names = ["quadratic"] if section else ["distance"]
    study = Study.model_validate(STUDY | {"forecast": {"forecasters": names, **section}})
    assert Study.model_validate(yaml.safe_load(dump_yaml(study))) == study


def test_a_learning_rate_at_which_the_model_swings_ever_wider_is_not_foretold(asked):
    with pytest.raises(Abstains, match="the steps of its model swing ever wider"):
        forecast(asked(training=STUDY["training"] | {"learning_rate": 100.0}))


def test_a_plan_that_is_searched_with_other_constants_than_are_forecast_is_told():
    def odd(**options):
        searched = {"method": "searched", "rows": 20, "options": options}
        study = Study.model_validate(
            STUDY | {"arrangement": searched, "forecast": {
                "forecasters": ["quadratic"], "quadratic": {"scale": 0.16, "curvature": 0.1}
            }}
        )  # fmt: skip
        return other_constants(study, expand(study))

    assert not odd(scale=0.16, curvature=0.1)
    assert odd(scale=0.2, curvature=0.1).endswith(
        " is searched with scale 0.2 and curvature 0.1, and forecast.quadratic follows it "
        "with scale 0.16 and curvature 0.1: they are constants of one model, so give both the same"
    )
