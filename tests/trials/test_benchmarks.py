"""Benchmarks are measured after training: they change no trial, and need its model."""

import pytest

from orchestrator.errors import ConfigError
from orchestrator.trials import expand
from tests.trials.studies import demo

KEPT = {"training": {"save_model": True}}


def test_benchmarks_leave_the_key_of_a_trial_as_it_was():
    (plain,) = expand(demo({}, **KEPT))
    (asked,) = expand(demo({}, **KEPT, evaluation={"benchmarks": {"tasks": ["arc_easy"]}}))
    assert (asked.key, asked.name) == (plain.key, plain.name)
    assert asked.config.evaluation.benchmarks.tasks == ["arc_easy"]


def test_benchmarks_of_models_that_nobody_keeps_are_refused():
    asked = {"benchmarks": {"tasks": ["arc_easy"]}}
    with pytest.raises(ConfigError, match=r"set training\.save_model to true"):
        expand(demo({}, evaluation=asked))
    asked["benchmarks"]["at"] = [0, 5, 7]
    kept = {"save_model": {"at": [5]}}
    with pytest.raises(ConfigError, match=r"names step 7, .* as in \{at: \[7\]\}"):
        expand(demo({}, training=kept, evaluation=asked))
    assert expand(demo({}, training={"save_model": {"at": [5, 7]}}, evaluation=asked))
