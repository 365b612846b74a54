"""Regrouping a global batch covers each row once and leaves its loss as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from orchestrator.training import tokens as token_table
from orchestrator.training.batches import collate, split
from orchestrator.training.losses import row_weights, token_losses


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
    budget=st.integers(1, 2000),
    ranks=st.integers(1, 8),
)
def test_every_row_is_fed_once_and_every_rank_makes_the_same_number_of_passes(
    lengths, budget, ranks
):
    lengths = np.array(lengths)
    rows = np.random.default_rng(0).permutation(len(lengths))
    shares = split(rows, lengths, budget, ranks)
    assert len(shares) == ranks
    assert len({len(share) for share in shares}) == 1
    real = [m for share in shares for m in share if not m.filler]
    assert sorted(np.concatenate([m.rows for m in real])) == sorted(rows)
    for micro_batch in real:
        assert len(micro_batch.rows) == 1 or (
            lengths[micro_batch.rows].max() * len(micro_batch.rows) <= budget
        )


def test_rows_are_split_before_filler_is_used():
    shares = split(np.arange(8), np.full(8, 10), 1000, 4)
    assert not any(m.filler for share in shares for m in share)
    assert sorted(len(m.rows) for share in shares for m in share) == [2, 2, 2, 2]


@pytest.fixture(scope="module")
def model(shared):
    return AutoModelForCausalLM.from_pretrained(shared.model).eval()


def unpadded_losses(model, table, row):
    """Token losses of one row by the plain way: full logits, no padding, shifted labels."""
    part = slice(table.starts[row], table.starts[row + 1])
    ids = torch.as_tensor(np.array(table.ids[part]), dtype=torch.int64)[None]
    logits = model(input_ids=ids).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
    return losses[torch.as_tensor(np.array(table.answer[part]))[1:]]


def test_a_padded_batch_gives_each_row_the_loss_it_has_alone(model, shared):
    table = token_table.load(shared.tokens)
    rows = np.array([0, 7, 30, 51, 11])
    with torch.no_grad():
        batch = collate(table, rows)
        together = token_losses(model, batch)
        for i, row in enumerate(rows):
            alone = unpadded_losses(model, table, row)
            assert len(alone) == batch.answer[i].sum()
            torch.testing.assert_close(together[i][batch.answer[i]], alone, rtol=1e-5, atol=1e-5)
    assert torch.all(together[~batch.answer] == 0)


def test_token_mean_divides_by_all_answer_tokens_and_example_mean_by_rows():
    counts = np.array([1, 3, 0])
    losses = np.array([2.0, 9.0, 0.0])  # sums over each row's answer tokens
    assert (row_weights(counts, "token_mean") * losses).sum() == pytest.approx(11 / 4)
    assert (row_weights(counts, "example_mean") * losses).sum() == pytest.approx((2 + 3) / 2)
