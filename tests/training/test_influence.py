"""Influence: gradients with their length, in the metric of the optimizer of the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.config.gradients import Gradients
from orchestrator.config.training import Lora
from orchestrator.models import resolve
from orchestrator.training.device import pick_device
from orchestrator.training.gradients import GradientModel
from orchestrator.training.influence import influences, step_factor
from tests.training.row_tokens import random_tokens

BUDGET = 200


@pytest.fixture(scope="module")
def tokens():
    return random_tokens([5, 31, 17, 40, 8, 22, 22, 12])


@pytest.fixture(scope="module")
def folder(store):
    return resolve("random:tiny-llama", Path(store))


def opened(folder, rank=4, dimensions=2**14):
    settings = Gradients(rank=rank, dimensions=dimensions, learning_rate=1e-2)
    return GradientModel(folder, settings, pick_device("float32", gpu=False))


@pytest.fixture(scope="module")
def state(folder, tokens):
    model = opened(folder)
    model.warm_up(tokens, np.array([[0, 1, 2, 3], [4, 5, 6, 1]]), BUDGET)
    return model.state()


def test_products_of_phi_are_those_of_gradients_under_the_preconditioner(folder, state, tokens):
    model = opened(folder)
    model.load_moments(state)
    rows = np.array([6, 0, 3])
    found = influences(model, tokens, rows, BUDGET, "none")
    losses, gradients = model.gradients(tokens, rows)  # of the untouched model
    factors = [step_factor(adapter, "none") for adapter in model.adapters]
    metric = torch.tensor(factors).repeat_interleave(16) / (model.moments.sqrt() + 1e-8)
    expected = (gradients * metric) @ gradients.T
    # With as many dimensions as numbers the map to them only changes places and signs.
    assert np.allclose(found[:, :-1] @ found[:, :-1].T, expected, rtol=1e-4)
    assert np.allclose(found[:, -1], losses, rtol=1e-5)


def test_a_row_without_an_answer_has_no_influence_and_no_loss(folder, state, tokens):
    model = opened(folder)
    model.load_moments(state)
    found = influences(model, tokens, np.array([7, 1]), BUDGET, "none")
    assert not found[0, :-1].any()
    assert np.isnan(found[0, -1])
    assert found[1, :-1].any()
    assert found[1, -1] > 0


def adam_step(gradient, start, shape, other):
    """How far a first step of Adam moves W along minus a gradient, by training W or B of B A."""
    if start is None:
        return (torch.sign(gradient) * other).sum()
    lora, alpha = start, 32.0
    of_b = alpha / shape * gradient @ lora.T
    return (alpha / shape * torch.sign(of_b) @ lora * other).sum()


@pytest.mark.parametrize("rank", [4, 16])
@pytest.mark.parametrize("r", [None, 2, 8])
def test_the_factor_makes_steps_of_the_projected_numbers_as_long_as_those_of_the_weights(rank, r):
    torch.manual_seed(0)
    outputs, inputs, steps = 320, 96, []
    for _ in range(30):
        # Entries of one size, so that the root of the moments is what the derivation takes it for.
        gradient = torch.sign(torch.randn(outputs, inputs))
        left, right = (torch.randn(rank, size) / rank**0.5 for size in (outputs, inputs))
        small = left @ gradient @ right.T
        adapter = Stub("layers.0.q_proj", left, right)
        trained = "none" if r is None else Lora(type="lora", r=r, alpha=32.0)
        start = None if r is None else (2 * torch.rand(r, inputs) - 1) / inputs**0.5
        root_mean_square = small.square().mean().sqrt()
        projected = step_factor(adapter, trained) * (small**2).sum() / root_mean_square
        steps.append((projected, adam_step(gradient, start, r, gradient)))
    projected, real = (torch.stack(each).mean() for each in zip(*steps, strict=True))
    # A sign is 0.80 of the root mean square of normal numbers, as the gradients of B are.
    expected = 1.0 if r is None else (2 / torch.pi) ** 0.5
    assert real / projected == pytest.approx(float(expected), rel=0.15)


class Stub:
    def __init__(self, name, left, right):
        self.name, self.left, self.right = name, left, right


def test_layers_that_an_adapter_leaves_alone_do_not_move():
    layer = Stub("model.layers.0.q_proj", torch.ones(4, 8), torch.ones(4, 8))
    chosen = [Lora(type="lora", targets=[name]) for name in ("q_proj", "v_proj", "proj")]
    assert [step_factor(layer, lora) > 0 for lora in chosen] == [True, False, False]
