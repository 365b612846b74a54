"""A gradient vector is what autograd gives for its instance alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.config.gradients import Gradients
from orchestrator.models import resolve
from orchestrator.training.batches import collate
from orchestrator.training.device import pick_device
from orchestrator.training.gradients import GradientModel
from orchestrator.training.losses import token_losses
from tests.training.row_tokens import random_tokens

SETTINGS = Gradients(rank=4, dimensions=64, warm_up_steps=3, warm_up_rows=4, learning_rate=1e-2)
BUDGET = 200  # tokens of a forward pass: several rows in each


@pytest.fixture
def tokens():
    return random_tokens([5, 31, 17, 40, 8, 22, 22, 60, 3, 12])


@pytest.fixture(scope="module")
def folder(store):
    return resolve("random:tiny-llama", Path(store))


@pytest.fixture
def model(folder):
    return GradientModel(folder, SETTINGS, pick_device("float32", gpu=False))


@pytest.fixture
def warm(model, tokens):
    return warmed_up(model, tokens)


def alone(model, tokens, row):
    """P (dL/dW) Q' of every layer, from the gradients of the weights themselves."""
    weights = {name: layer.weight for name, layer in layers(model).items()}
    for weight in weights.values():
        weight.requires_grad_()
    loss = token_losses(model._model, collate(tokens, np.array([row]), packed=False)).mean()
    parts = torch.autograd.grad(loss, list(weights.values()))
    for weight in weights.values():
        weight.requires_grad_(False)
    return torch.cat(
        [
            (adapter.left @ part @ adapter.right.T).flatten()
            for adapter, part in zip(model.adapters, parts, strict=True)
        ]
    )


def layers(model):
    named = dict(model._model.named_modules())
    return {adapter.name: named[adapter.name] for adapter in model.adapters}


def warmed_up(model, tokens):
    model.warm_up(tokens, np.array([[0, 1, 2, 3], [4, 5, 6, 7], [1, 3, 5, 7]]), BUDGET)
    return model


@pytest.mark.parametrize("warm", [False, True])
def test_gradients_of_rows_that_go_together_are_those_of_each_row_alone(model, tokens, warm):
    if warm:
        warmed_up(model, tokens)
    rows = np.arange(8)
    together = model.gradients(tokens, rows)[1]
    for row in rows:
        expected = alone(model, tokens, row)
        assert (together[row] - expected).norm() <= 1e-5 * expected.norm()


def test_vectors_of_the_pool_are_preconditioned_and_those_of_test_items_are_not(model, tokens):
    warmed_up(model, tokens)
    rows = np.array([7, 2, 4])
    for pool, scale in ((False, 1), (True, 1 / (model.moments.sqrt() + 1e-8))):
        vectors = model.vectors(tokens, rows, BUDGET, pool=pool)
        for vector, row in zip(vectors, rows, strict=True):
            expected = model.mapped((alone(model, tokens, row) * scale)[None])[0]
            expected /= expected.norm()
            assert np.abs(vector - expected.numpy()).max() <= 1e-5


def test_a_row_without_an_answer_has_no_direction(warm, tokens):
    assert not warm.vectors(tokens, np.array([9, 0]), BUDGET, pool=True)[0].any()
    assert not warm.vectors(tokens, np.array([9]), BUDGET, pool=True).any()


def test_another_process_that_takes_over_the_state_makes_the_same_vectors(warm, tokens, folder):
    other = GradientModel(folder, SETTINGS, pick_device("float32", gpu=False))
    other.load_state(warm.state())
    rows = np.arange(10)
    assert np.array_equal(
        *(each.vectors(tokens, rows, BUDGET, pool=True) for each in (warm, other))
    )


def test_after_one_step_the_second_moments_are_the_squares_of_its_gradient(model, tokens):
    gradient = model.gradients(tokens, np.arange(4))[1].mean(dim=0)
    model.warm_up(tokens, np.arange(4)[None], BUDGET)
    assert torch.allclose(model.moments, gradient**2, rtol=1e-4, atol=1e-12)


def test_the_warm_up_lowers_the_loss_of_what_it_sees(model, tokens):
    losses = model.warm_up(tokens, np.tile(np.arange(8), (6, 1)), BUDGET)
    assert losses[-1] < losses[0]


def test_the_map_to_fewer_dimensions_keeps_cosines(model, tokens):
    rows = np.arange(8)
    exact = torch.nn.functional.normalize(model.gradients(tokens, rows)[1], dim=1)
    mapped = torch.nn.functional.normalize(model.mapped(model.gradients(tokens, rows)[1]), dim=1)
    # Of 64 dimensions an inner product is right to 1/8, one standard deviation.
    assert (exact @ exact.T - mapped @ mapped.T).abs().max() < 0.5
