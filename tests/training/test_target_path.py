"""The score of an instance is its own drop of loss behind adapters that saw the queries alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.config.path import TargetPath
from orchestrator.config.training import Model
from orchestrator.models import resolve
from orchestrator.training.batches import collate
from orchestrator.training.device import pick_device
from orchestrator.training.losses import token_losses
from orchestrator.training.model import load_model
from orchestrator.training.target_path import PathModel, axes, lifted, scores
from tests.training.row_tokens import random_tokens

SETTINGS = TargetPath(rank=4, steps=3, learning_rate=1e-1)
GROUPS = [np.array([0, 1, 2]), np.array([3, 4])]  # of queries; the rows behind them are the pool
POOL = np.array([9, 5, 8, 6, 7])
BUDGET = 100  # tokens of a forward pass: several passes, some of several rows
FLOAT32 = pick_device("float32", gpu=False)


@pytest.fixture
def tokens():
    return random_tokens([5, 31, 17, 40, 8, 22, 22, 60, 3, 12])


@pytest.fixture(scope="module")
def folder(store):
    return resolve("random:tiny-llama", Path(store))


@pytest.fixture
def model(folder):
    return PathModel(folder, SETTINGS, FLOAT32)


def losses_alone(folder, tokens, model, group):
    """Each pool row's loss alone, of a plain model whose weights have a group's adapters merged."""
    plain = load_model(folder, Model(name=str(folder)), FLOAT32).eval()
    named = dict(plain.named_modules())
    if group is not None:
        for adapter in model.adapters:
            change = adapter.left.T @ model.state()[adapter.name][group] @ adapter.right
            named[adapter.name].weight.data += change
    with torch.inference_mode():
        return [
            float(token_losses(plain, collate(tokens, np.array([row]), packed=False)).mean())
            if tokens.answer_counts(np.array([row]))[0]
            else 0.0
            for row in POOL.tolist()
        ]


def test_vectors_are_those_of_each_row_alone_in_a_model_with_merged_weights(model, tokens, folder):
    model.follow(tokens, GROUPS, BUDGET)
    vectors = model.vectors(tokens, POOL, BUDGET)
    columns = [losses_alone(folder, tokens, model, group) for group in (None, 0, 1)]
    untouched, *behind = np.array(columns)
    for group, after in enumerate(behind):
        larger = np.where(untouched > 0, np.maximum(untouched, after), 1)
        expected = (untouched - after) / larger
        assert np.abs(expected).max() > 0.01  # the adapters changed something
        query = axes(np.array([group]), 2)[0]
        assert np.abs(vectors @ query - expected / np.sqrt(2)).max() <= 1e-5
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() <= 1e-6
    assert vectors[0].tolist() == [0, 0, 1]  # the row without an answer


def test_the_adapters_of_a_group_see_no_other_row(model, tokens, folder):
    model.follow(tokens, GROUPS, BUDGET)
    rng, ids = np.random.default_rng(1), tokens.ids.copy()
    ids[tokens.starts[5] :] = rng.integers(3, 250, len(ids) - tokens.starts[5])  # the pool
    ids[: tokens.starts[3]] = 7  # the other group
    other = PathModel(folder, SETTINGS, FLOAT32)
    other.follow(replace(tokens, ids=ids), GROUPS, BUDGET)
    for name, matrices in model.state().items():
        assert torch.equal(matrices[1], other.state()[name][1])
        assert not torch.equal(matrices[0], other.state()[name][0])


def test_the_path_lowers_the_loss_of_its_queries_and_ends_where_their_vectors_start(model, tokens):
    losses = model.follow(tokens, GROUPS, BUDGET)
    assert [len(of_group) for of_group in losses] == [SETTINGS.steps] * 2
    for group, rows in enumerate(GROUPS):
        untouched, *behind = model.losses(tokens, rows).mean(axis=0)
        assert untouched == pytest.approx(losses[group][0], rel=1e-5)
        assert behind[group] < losses[group][-1] < untouched


def test_a_batch_without_answers_ends_no_training(model, tokens):
    (losses,) = model.follow(tokens, [np.array([7, 9])], 12)
    assert np.isfinite(losses).all()
    assert model.vectors(tokens, POOL, BUDGET)[:, 0].any()


def test_another_process_that_takes_over_the_state_makes_the_same_vectors(model, tokens, folder):
    model.follow(tokens, GROUPS, BUDGET)
    other = PathModel(folder, SETTINGS, FLOAT32)
    other.load_state(model.state())
    made = [each.vectors(tokens, POOL, BUDGET) for each in (model, other)]
    assert np.array_equal(*made)


def test_states_are_means_with_weights_that_rise_with_the_position(model, tokens, folder):
    model.follow(tokens, GROUPS, BUDGET)  # the adapters change no state
    states = model.states(tokens, POOL, BUDGET)
    plain = load_model(folder, Model(name=str(folder)), FLOAT32).eval()
    for row, state in zip(POOL, states, strict=True):
        ids = torch.as_tensor(tokens.ids[tokens.starts[row] : tokens.starts[row + 1]]).long()
        with torch.inference_mode():
            hidden = plain.base_model(ids[None]).last_hidden_state[0]
        expected = (torch.arange(1, len(ids) + 1)[:, None] * hidden).sum(dim=0)
        assert np.abs(state - (expected / expected.norm()).numpy()).max() <= 1e-5


def test_scores_have_the_order_of_the_drop_over_the_untouched_loss_and_are_bounded():
    rng = np.random.default_rng(0)
    losses = np.exp(rng.normal(scale=3, size=(500, 4))).astype(np.float32)
    found, drops = scores(losses), 1 - losses[:, 1:].astype(float) / losses[:, :1]
    assert np.array_equal(np.argsort(found, axis=0), np.argsort(drops, axis=0))
    assert np.allclose(found[drops > 0], drops[drops > 0])
    assert -1 <= found.min() < 0 < found.max() <= 1
    assert not scores(np.zeros((1, 4), np.float32)).any()


def test_the_cosine_of_a_row_and_a_query_is_the_score_over_the_root_of_the_groups():
    found = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    found[0] = [1, -1, 1]  # as long as can be
    vectors, queries = lifted(found), axes(np.array([2, 0, 1, 1]), 3)
    assert vectors.dtype == queries.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(vectors @ queries.T, found[:, [2, 0, 1, 1]] / np.sqrt(3), atol=1e-6)
