"""The weights of a global batch's tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.training.batches import pack
from orchestrator.training.losses import micro_batch_numbers, row_weights


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=30),
    budget=st.integers(1, 300),
    ranks=st.integers(1, 4),
)
def test_the_authors_loss_is_the_mean_of_the_token_means_of_micro_batches(counts, budget, ranks):
    counts = np.array(counts)
    rows = np.random.default_rng(len(counts)).permutation(len(counts))
    sums = np.random.default_rng(0).uniform(1, 9, len(counts)) * (counts > 0)
    shares = pack(rows, counts + 3, budget, ranks)
    real = [m.rows for share in shares for m in share if not m.filler]
    means = [sums[m].sum() / counts[m].sum() for m in real if counts[m].any()]
    numbers = micro_batch_numbers(rows, shares)
    weights = row_weights(counts[rows], "authors", numbers)
    assert (weights * sums[rows]).sum() == pytest.approx(np.mean(means) if means else 0.0)


def test_the_authors_loss_depends_on_the_split_and_the_others_do_not():
    counts, losses = np.array([1, 9, 2, 2]), np.array([4.0, 9.0, 2.0, 6.0])
    together, apart = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])
    for kind in ("token_mean", "example_mean"):
        weights = [row_weights(counts, kind, split) for split in (None, together, apart)]
        assert np.array_equal(weights[0], weights[1])
        assert np.array_equal(weights[0], weights[2])
    authors = [(row_weights(counts, "authors", m) * losses).sum() for m in (together, apart)]
    assert authors == pytest.approx([(13 / 10 + 8 / 4) / 2, (4 + 1 + 1 + 3) / 4])


def test_the_authors_loss_without_micro_batches_and_an_unknown_loss_are_refused():
    with pytest.raises(ValueError, match="needs the micro-batch"):
        row_weights(np.array([1]), "authors")
    with pytest.raises(ValueError, match="token_mean, example_mean or authors"):
        row_weights(np.array([1]), "mean")
