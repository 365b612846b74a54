"""Random texts, and the divergence of their bigrams from plain dictionaries."""

from collections import Counter
from itertools import pairwise
from math import fsum, log


def texts_of(rng, count):
    """Texts of 0 to 7 words; those of less than two have no bigram."""
    return [" ".join(rng.choice(list("abcdef"), rng.integers(0, 8))) for _ in range(count)]


def plain_divergence(seen, queries):
    """KL(bigrams of seen || bigrams of queries); NaN where either has none."""
    p, q = (Counter(pair for text in texts for pair in pairwise(text.split()))
            for texts in (seen, queries))  # fmt: skip
    if not p or not q:
        return float("nan")
    shares = {pair: count / p.total() for pair, count in p.items()}
    return fsum(
        share * log(share / (q[pair] / q.total() + 1e-10)) for pair, share in shares.items()
    )
