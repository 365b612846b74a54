"""The proxy of a study: the same arms at less cost, and the order in which they ended there."""

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.forecast.forecaster import Abstains
from orchestrator.forecast.proxy import forecast
from orchestrator.trials import expand
from orchestrator.trials.proxy import proxy_study
from tests.forecast.made_up import finish, request_of, study_of

FORECAST = {
    "forecasters": ["proxy"],
    "proxy": {"model": "random:tiny-llama", "rows": 96, "learning_rate": 1e-7},
}
ORDERS = ["nearest_first", "random"]


def asking(**sections):
    return study_of("main", ORDERS, forecast=FORECAST, **sections)


def test_a_proxy_is_the_study_with_another_model_fewer_rows_and_a_very_small_learning_rate():
    study = asking(
        training={"save_model": True, "global_batch": 4},
        evaluation={"generate": {"every": 5}},
        model={"name": "owner/model", "revision": "step3000"},
    )
    proxy = proxy_study(study)
    assert (proxy.study, proxy.forecast, proxy.output) == ("main-proxy", None, study.output)
    assert [trial.arm for trial in expand(proxy)] == [trial.arm for trial in expand(study)]
    for trial in expand(proxy):
        config = trial.config
        assert (config.model.reference, config.model.precision) == ("random:tiny-llama", "float32")
        assert (config.arrangement.rows, config.training.learning_rate) == (96, 1e-7)
        assert config.training.global_batch == 4
        assert not config.training.save_model
        assert config.evaluation.generate.every is None
    assert len(proxy_study(study.model_copy(update={"study": "s" * 64})).study) == 64


def test_a_section_that_is_not_given_changes_no_digest():
    plain = study_of("main", ORDERS)
    assert "forecast" not in plain.model_dump()
    assert [t.key for t in expand(plain)] == [t.key for t in expand(asking())]


def test_arms_are_expected_in_the_order_in_which_the_proxy_left_them(tmp_path):
    study = asking()
    finish(proxy_study(study), tmp_path, [np.full((3, 3), 2.5), np.full((3, 3), 2.4)])
    request = request_of(study, tmp_path)
    expectation = forecast(request)
    assert not expectation.sized
    ends = [expectation.losses[trial.name]["query"].losses[-1, 0] for trial in request.trials]
    assert ends == [2.5, 2.4]


def test_a_proxy_that_did_not_run_says_nothing(tmp_path):
    with pytest.raises(Abstains, match="no trial of the study main-proxy finished"):
        forecast(request_of(asking(), tmp_path))


def test_a_proxy_that_would_make_arms_alike_is_refused():
    sweep = {"parameters": {"training.learning_rate": {"grid": [1e-5, 1e-6]}}}
    study = asking().model_copy(update={"sweep": type(asking().sweep).model_validate(sweep)})
    with pytest.raises(ConfigError, match=r"sets training\.learning_rate in every trial"):
        expand(study)


def test_what_does_not_fit_the_study_is_told_where_the_study_is_read():
    arrangement = {"selection": "nearest", "answer_tokens": 500}
    with pytest.raises(ConfigError, match=r"forecast\.proxy: arrangement"):
        expand(asking(arrangement=arrangement))


@pytest.mark.parametrize("kept", [{}, {"save_model": True}])
def test_a_proxy_that_trains_as_the_study_does_is_refused(kept):
    training = {"training": {"learning_rate": 1e-6} | kept}
    float32 = {"model": {"name": "random:tiny-llama", "precision": "float32"}}
    itself = {"forecast": {"forecasters": ["proxy"]}}
    with pytest.raises(ConfigError, match="no forecast but the outcome"):
        expand(study_of("main", ORDERS, **training, **float32, **itself))
    smaller = {"forecast": {"forecasters": ["proxy"], "proxy": {"rows": 96}}}
    assert len(expand(study_of("main", ORDERS, **training, **float32, **smaller))) == 2
    assert len(expand(study_of("main", ORDERS, **float32, **itself))) == 2


def test_a_proxy_that_nobody_asks_is_a_fault():
    with pytest.raises(ValueError, match="add proxy to forecasters"):
        study_of("main", ORDERS, forecast={"forecasters": ["distance"], "proxy": {"rows": 3}})
