"""Masters start spread over the rounding intervals of their working weights, and what they are
moved by arrives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.training.masters import spread

HALVES = [torch.bfloat16, torch.float16]
every_half = pytest.mark.parametrize("dtype", HALVES, ids=str)


def patterns(dtype, numbers):
    """Finite numbers of a 16-bit format from their bit patterns."""
    values = torch.tensor(numbers, dtype=torch.int32).to(torch.int16).view(dtype)
    return values[values.isfinite()]


@every_half
@given(numbers=st.lists(st.integers(-(2**15), 2**15 - 1)), seed=st.integers(0, 9))
def test_masters_round_to_the_working_weights_to_the_last_bit(dtype, numbers, seed):
    working = patterns(dtype, numbers)
    assert torch.equal(spread(working, "w", 0, seed).to(dtype), working)


@every_half
def test_every_finite_number_is_rounded_back(dtype):
    working = patterns(dtype, range(-(2**15), 2**15))
    for seed in range(4):
        assert torch.equal(spread(working, "w", 0, seed).to(dtype), working)


@every_half
@pytest.mark.parametrize("weight", [0.02, -0.02, 0.03125, -0.03125, 1.0, 3e-3])
@pytest.mark.parametrize("part", [0.03, -0.03, 0.2, -0.2])
def test_a_working_weight_moves_in_expectation_as_its_master_does(dtype, weight, part):
    """Also at 2^-5 and 1, above which the spacing is twice that below."""
    count = 400_000
    working = torch.full((count,), weight, dtype=dtype)
    spacing = float((working[0].view(torch.int16) + 1).view(dtype) - working[0])
    move = part * abs(spacing)
    masters = spread(working, "w", 0, 1)
    arrived = ((masters + move).to(dtype).double() - working.double()).mean()
    # A sum of rare jumps over one spacing: its relative deviation is 1 / sqrt(count * part).
    assert float(arrived) == pytest.approx(move, rel=5 / (count * abs(part)) ** 0.5 + 2e-4)


@every_half
@given(first=st.integers(0, 200), count=st.integers(0, 200))
def test_where_a_part_begins_does_not_change_the_masters(dtype, first, count):
    working = torch.linspace(-1, 1, 400).to(dtype)
    part = spread(working[first : first + count], "w", first, 3)
    assert torch.equal(part, spread(working, "w", 0, 3)[first : first + count])


def test_seeds_and_names_have_offsets_of_their_own():
    working = torch.full((10_000,), 0.02, dtype=torch.bfloat16)
    masters = [spread(working, name, 0, seed) for name in ("a", "b") for seed in (0, 1)]
    offsets = np.stack([each.double().numpy() for each in masters])
    assert np.abs(np.corrcoef(offsets) - np.eye(4)).max() < 0.05
    assert torch.equal(masters[0], spread(working, "a", 0, 0))


def fidelity(start, steps=100, learning_rate=1e-6):
    """Of Adam on random gradients, on weights of LLaMA-2-7B's spread."""
    working = (torch.randn(2**17, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    master = start(working).requires_grad_()
    first, optimizer = master.detach().clone(), torch.optim.AdamW([master], lr=learning_rate)
    draws = torch.Generator().manual_seed(1)
    for _ in range(steps):
        master.grad = torch.randn(master.shape, generator=draws)
        optimizer.step()
    asked = (master.detach() - first).double()
    return float((master.detach().bfloat16().double() - working.double()) @ asked / (asked @ asked))


def test_at_the_papers_learning_rate_nearly_all_arrives_in_bfloat16():
    assert fidelity(lambda working: spread(working, "w", 0, 0)) == pytest.approx(1, abs=0.03)
    assert fidelity(lambda working: working.float()) < 0.5
