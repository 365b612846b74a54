"""Tokens of rows without a text, where no more than their lengths and answers matters."""

import numpy as np

from orchestrator.training.tokens import Tokens


def random_tokens(lengths):
    """Rows of random tokens, the last third of each an answer; the last row has none."""
    rng = np.random.default_rng(0)
    marks = [np.arange(length) >= 2 * length // 3 for length in lengths]
    marks[-1][:] = False
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Tokens(rng.integers(3, 250, starts[-1]).astype(np.int32), np.concatenate(marks), starts)
