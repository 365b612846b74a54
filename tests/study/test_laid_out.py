"""What trains a trial, as the pipeline lays it out where nothing is embedded and no Ray runs."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.config import Study
from orchestrator.config.layout import Layout
from orchestrator.core.arrangements import METHODS, Method
from orchestrator.errors import PlanError
from orchestrator.screen import Screen
from orchestrator.study.pipeline import Pipeline
from orchestrator.training import tokens
from orchestrator.training.outcome import FAILED, read_outcome
from orchestrator.training.spec import has_plan, trial_steps
from orchestrator.trials import expand

STUDY = {
    "study": "laid-out",
    "data": {
        "pool": {"reader": "builtin", "split": "pool", "max_per_task": 2},
        "query": {"reader": "builtin", "split": "query", "max_per_task": 1},
    },
    "arrangement": {"method": "random", "rows": 10},
    "model": {"name": "random:tiny-llama"},
    "training": {"global_batch": 4},
    "evaluation": {"measures": False},
}


@pytest.fixture
def specs(tmp_path, store):
    """Lays out the trials of some axes."""

    def prepare(**axes):
        sweep = {"parameters": {key.replace("__", "."): {"grid": axes[key]} for key in axes}}
        places = {"output": str(tmp_path / "out"), "store": store}
        study = Study.model_validate(STUDY | places | {"sweep": sweep})
        with Screen() as screen:
            return Pipeline(Layout.of(study), screen).prepare(expand(study))

    return prepare


def test_a_plan_holds_all_passes_in_the_columns_of_one(specs):
    once, twice = specs(training__epochs=[1, 2])
    plans = [pq.read_table(spec.folder / "plan.parquet") for spec in (once, twice)]
    assert plans[0].schema == plans[1].schema
    assert plans[1]["id"].to_pylist() == 2 * plans[0]["id"].to_pylist()
    assert plans[1]["position"].to_pylist() == list(range(20))
    assert [trial_steps(spec) for spec in (once, twice)] == [3, 6]


def test_what_a_new_pass_draws_is_noted_in_its_plan(specs):
    (spec,) = specs(training__epochs=[2], training__reorder=["each"])
    plan = pq.read_table(spec.folder / "plan.parquet")
    drawn = len(set(plan["row"].to_pylist()))
    assert plan.schema.metadata[b"note"].decode() == (
        f"the passes of 10 rows draw {drawn} different ones"
    )


def test_test_sets_have_a_table_of_their_own_where_their_length_is(specs):
    plain, same, short = specs(evaluation__max_length=[None, 1024, 20])
    assert plain.test_tokens is same.test_tokens is None
    assert plain.tokens == short.tokens
    folder, digest = short.measured_tokens
    assert digest not in (plain.tokens_digest, plain.measured_tokens[1])
    lengths, cut = (tokens.load(at).lengths for at in (plain.tokens, folder))
    pool = len(cut) - 10
    assert not cut[:pool].any()
    assert cut[pool:].tolist() == np.minimum(lengths[pool:], 20).tolist()


@pytest.fixture
def method(monkeypatch):
    """A method `mine` of somebody else, which does what it is told to for each seed."""
    does = {}
    mine = Method(lambda request: does[request.seed](request), embeds=False)
    monkeypatch.setitem(METHODS, "mine", mine)
    return does


@pytest.mark.scenario("repeated-crash")
def test_a_trial_whose_plan_cannot_be_made_fails_alone_until_it_can(specs, method, capsys):
    rows = METHODS["random"].arrange
    method |= {0: rows, 1: rows}
    assert all(map(has_plan, specs(arrangement__method=["mine"], seed=[0, 1])))
    method[1] = lambda request: None
    fine, other = specs(arrangement__method=["mine"], seed=[0, 1])
    assert (has_plan(fine), has_plan(other)) == (True, False)  # nor has it that of before
    outcome = read_outcome(other.folder, other.key)
    assert outcome.status == FAILED
    assert outcome.error.startswith("arrangement: method 'mine' returned a NoneType: let it return")
    assert (other.folder / "config.yaml").is_file()
    told = capsys.readouterr().out
    assert "1 plans" in told
    assert f"failed {other.trial}" in told
    method[1] = rows
    assert all(map(has_plan, specs(arrangement__method=["mine"], seed=[0, 1])))
    assert read_outcome(other.folder, other.key).error is None


@pytest.mark.scenario("bad-records")
def test_a_trial_with_a_batch_whose_answers_are_all_cut_away_fails_before_it_is_trained(specs):
    whole, cut = specs(model__max_length=[1024, 4])
    assert (has_plan(whole), has_plan(cut)) == (True, False)
    error = read_outcome(cut.folder, cut.key).error
    assert error.startswith("step 1 would be fed rows [")
    assert "of which none has an answer left within model.max_length = 4 tokens: raise it" in error


@pytest.mark.scenario("repeated-crash")
def test_a_study_of_which_no_trial_has_a_plan_ends_with_the_sentence(specs, method, capsys):
    method |= dict.fromkeys((0, 1), lambda request: None)
    with pytest.raises(PlanError, match=r"^arrangement: method 'mine' returned [^\n]*$"):
        specs(arrangement__method=["mine"], seed=[0, 1])
    assert "failed" not in capsys.readouterr().out
