"""What a search for plans is told of a study: the pool, the queries and the course, no more."""

import numpy as np
import pytest

from orchestrator.config.embedding import Embedding
from orchestrator.config.schema import TrialConfig
from orchestrator.config.training import Lora
from orchestrator.errors import DataError
from orchestrator.stages.gradients import warm_up_spec
from orchestrator.stages.influence import (
    course_of,
    influence_settings,
    influence_spec,
    load_influence,
    load_phi,
    row_mass,
)
from orchestrator.stages.token_vectors import Source
from orchestrator.storage.artifacts import Artifact
from orchestrator.training.schedule import learning_rate
from tests.stages.influences import SPLITS, WIDTH, drawn

SOURCES = {name: {"reader": "builtin", "split": name} for name in ("pool", "query")}


def trial(**sections):
    return TrialConfig.model_validate({"data": SOURCES, **sections})


def test_a_search_is_told_nothing_of_the_held_out_set(tmp_path):
    artifacts = drawn(tmp_path)
    dataset, tokens, influence = artifacts
    told = load_influence(influence, dataset, tokens, trial())
    path, pool = influence.path / "vectors.npy", SPLITS["pool"]
    vectors, queries = np.load(path), slice(pool, pool + SPLITS["query"])
    assert np.array_equal(told.pool, vectors[:pool, :-1])
    assert np.array_equal(told.tests, vectors[queries, :-1])
    assert np.array_equal(told.losses, vectors[queries, -1].astype(float), equal_nan=True)
    vectors[queries.stop :] = np.nan
    np.save(path, vectors)
    blind = load_influence(influence, dataset, tokens, trial())
    for name in ("pool", "mass", "tests", "losses"):
        assert np.array_equal(getattr(told, name), getattr(blind, name), equal_nan=True)
    assert load_phi(influence)[0].shape[1] == WIDTH


def test_a_row_counts_in_its_batch_as_the_loss_of_training_has_it(tmp_path):
    dataset, tokens, influence = drawn(tmp_path)
    told = load_influence(influence, dataset, tokens, trial())
    assert told.mass[-1] == 0
    assert told.mass[:-1].min() >= 1
    counts = np.array([0, 3, 5])
    assert row_mass(counts, "token_mean").tolist() == [0, 3, 5]
    assert row_mass(counts, "authors").tolist() == [0, 3, 5]
    assert row_mass(counts, "example_mean").tolist() == [0, 1, 1]


def test_the_course_is_that_of_the_training():
    training = {
        "global_batch": 4, "epochs": 2, "max_steps": 9, "learning_rate": 1e-3, "warmup_steps": 2,
        "schedule": "linear", "betas": [0.8, 0.95],
    }  # fmt: skip
    course = course_of(trial(training=training))
    assert course.steps(36) == 9
    expected = [learning_rate(step, 9, 1e-3, "linear", 0.1, 2) for step in range(1, 10)]
    assert course.rates(36).tolist() == expected
    assert course.momentum == 0.8


def test_all_arms_are_followed_by_the_same_gradients_whatever_they_are_arranged_by():
    own = {"pooling": "gradient", "gradient": {"dimensions": 99}, "dtype": "bfloat16"}
    settings = [
        influence_settings(trial(embedding={"workers": 3, **section})) for section in (own, {})
    ]
    assert settings[0] == settings[1] == Embedding(pooling="gradient", workers=3)


@pytest.mark.parametrize(
    ("pooling", "asked", "taken"),
    [("auto", None, None), ("auto", 64, 64), ("auto", 10**6, 1024), ("gradient", 10**6, 10**6)],
)
def test_their_batches_can_be_made_smaller_and_are_those_of_texts_up_to_the_default(
    pooling, asked, taken
):
    config = trial(embedding={"pooling": pooling, "batch_tokens": asked})
    assert influence_settings(config).batch_tokens == taken


def key_of(folder, trained):
    dataset, tokens, _ = drawn(folder)
    source = Source(dataset, tokens, Embedding(pooling="gradient"), folder, "model")
    return influence_spec(source, Artifact(folder, "warm-up", {}, False), folder, trained).key


def test_influence_is_shared_by_adapters_that_move_the_weights_alike(tmp_path):
    adapters = [{}, {"r": 4, "dropout": 0.1}, {"type": "qlora"}, {"alpha": 8.0}, {"targets": ["q"]}]
    keys = [
        key_of(tmp_path / str(number), Lora(**{"type": "lora", **adapter}))
        for number, adapter in enumerate(adapters)
    ]
    assert [key == keys[0] for key in keys] == [True, True, True, False, False]
    whole = key_of(tmp_path / "none", "none")
    assert whole["vectors"] == {
        "version": 1, "warm_up": "warm-up", "dimensions": 1024, "trained": "none"
    }  # fmt: skip


def test_rows_without_an_answer_warm_nothing_up(tmp_path):
    dataset, tokens, _ = drawn(tmp_path)
    marks = np.load(tokens.path / "answer.npy")
    np.save(tokens.path / "answer.npy", np.zeros_like(marks))
    source = Source(dataset, tokens, Embedding(pooling="gradient"), tmp_path, "model")
    with pytest.raises(DataError, match=r"none of the 30 rows of data\.pool on which adapters"):
        warm_up_spec(source).make(tmp_path, None)
