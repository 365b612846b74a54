"""Regrouping a global batch covers each row once and leaves its loss as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from orchestrator.config.training import Model
from orchestrator.training import tokens as token_table
from orchestrator.training.attention import why_padded
from orchestrator.training.batches import collate, pack, split
from orchestrator.training.device import pick_device
from orchestrator.training.losses import row_weights, token_losses


@pytest.mark.parametrize(("group", "cost"), [(pack, np.sum), (split, lambda of: max(of) * len(of))])
@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    budget=st.integers(1, 2000),
    ranks=st.integers(1, 8),
)
def test_every_row_is_fed_once_and_every_rank_makes_the_same_number_of_passes(
    group, cost, lengths, budget, ranks
):
    lengths = np.array(lengths)
    rows = np.random.default_rng(0).permutation(len(lengths))
    shares = group(rows, lengths, budget, ranks)
    assert len(shares) == ranks
    assert len({len(share) for share in shares}) == 1
    real = [m for share in shares for m in share if not m.filler]
    assert sum(map(len, shares)) - len(real) < ranks, "filler where every rank could do without"
    assert sorted(np.concatenate([m.rows for m in real])) == sorted(rows)
    for micro_batch in real:
        assert len(micro_batch.rows) == 1 or cost(lengths[micro_batch.rows]) <= budget


def test_rows_are_split_before_filler_is_used():
    for group in (pack, split):
        shares = group(np.arange(8), np.full(8, 10), 1000, 4)
        assert not any(m.filler for share in shares for m in share)
        assert sorted(len(m.rows) for share in shares for m in share) == [2, 2, 2, 2]


@settings(deadline=None)
@given(seed=st.integers(0, 1000), ranks=st.integers(1, 4), budget=st.sampled_from([1024, 4096]))
def test_ranks_get_nearly_the_same_number_of_tokens_to_compute(seed, ranks, budget):
    """Sixty-four rows whose lengths are spread as those of instruction data; of all that may be
    drawn here the least is 0.942."""
    draw = np.random.default_rng(seed)
    lengths = np.clip(draw.lognormal(5.2, 0.8, 64).astype(int), 16, 1024)
    shares = pack(np.arange(64), lengths, budget, ranks)
    work = [sum(lengths[m.rows].sum() for m in share) for share in shares]
    assert lengths.sum() / (ranks * max(work)) > 0.94
    assert all(lengths[m.rows].sum() > 0.4 * budget for share in shares for m in share), "few"


@pytest.fixture(scope="module")
def model(shared):
    model = AutoModelForCausalLM.from_pretrained(shared.model).eval()
    assert why_padded(model, Model(), pick_device("float32", gpu=False)) is None
    return model


def unpadded_losses(model, table, row):
    """Token losses of one row by the plain way: full logits, no padding, shifted labels."""
    part = slice(table.starts[row], table.starts[row + 1])
    ids = torch.as_tensor(np.array(table.ids[part]), dtype=torch.int64)[None]
    logits = model(input_ids=ids).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    return losses[torch.as_tensor(np.array(table.answer[part]))[1:]]


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_gives_each_row_the_loss_it_has_alone(model, shared, packed):
    table = token_table.load(shared.tokens)
    rows = np.array([0, 7, 30, 51, 11])
    with torch.no_grad():
        batch = collate(table, rows, packed=packed)
        together = token_losses(model, batch)
        for i, row in enumerate(rows):
            alone = unpadded_losses(model, table, row)
            assert len(alone) == (batch.owners == i).sum()
            torch.testing.assert_close(together[batch.owners == i], alone, rtol=1e-5, atol=1e-5)


def test_gradients_of_a_packed_batch_are_those_of_the_padded_one(model, shared):
    table, rows = token_table.load(shared.tokens), np.array([0, 7, 30, 51, 11])
    gradients = []
    for packed in (True, False):
        model.zero_grad()
        token_losses(model, collate(table, rows, packed=packed)).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    largest = gradients[1].abs().max()
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5 * float(largest))


@pytest.mark.scenario("bad-records")
@pytest.mark.parametrize("packed", [True, False])
def test_a_row_without_an_answer_and_a_first_token_that_is_marked_carry_no_loss(packed):
    ids = np.arange(9, dtype=np.int32)
    marks = np.array([1, 0, 1, 0, 0, 0, 1, 1, 1], np.bool_)  # three rows: 3, 2 and 4 tokens
    table = token_table.Tokens(ids, marks, np.array([0, 3, 5, 9]))
    batch = collate(table, np.arange(3), packed=packed)
    assert batch.targets.tolist() == [2, 6, 7, 8]
    assert batch.owners.tolist() == [0, 2, 2, 2]
    nothing = collate(table, np.array([1]), packed=packed)
    assert nothing.targets.tolist() == []


def test_token_mean_divides_by_all_answer_tokens_and_example_mean_by_rows():
    counts = np.array([1, 3, 0])
    losses = np.array([2.0, 9.0, 0.0])  # sums over each row's answer tokens
    assert (row_weights(counts, "token_mean") * losses).sum() == pytest.approx(11 / 4)
    assert (row_weights(counts, "example_mean") * losses).sum() == pytest.approx((2 + 3) / 2)
