"""Bigram counts and divergences against plain dictionaries."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import bigrams
from orchestrator.core.arrangements import arrange
from orchestrator.core.bigrams import count_bigrams, kl_scores
from orchestrator.core.units import groups
from tests.core.pools import make_request, unit_rows
from tests.core.texts import plain_divergence

TEXT = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=8).map(" ".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=12)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_equal_pairs_of_words_and_no_others_have_equal_numbers(texts, others):
    counted = count_bigrams(texts, others)
    number_of = {}
    for collection, found in zip((texts, others), counted, strict=True):
        assert len(found.starts) == len(collection) + 1
        for text, start, end in zip(collection, found.starts, found.starts[1:], strict=False):
            pairs = list(pairwise(text.split()))
            for pair, number in zip(pairs, found.ids[start:end].tolist(), strict=True):
                assert number_of.setdefault(pair, number) == number
    assert len(set(number_of.values())) == len(number_of)


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 30))
def test_each_unit_scores_the_divergence_of_its_own_texts(texts, queries, block):
    units = groups(np.arange(len(texts)) % 4)
    pool, test = count_bigrams(texts, queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigrams, "BLOCK", block)
        scores = kl_scores(pool.of_units(units), test)
    expected = [
        plain_divergence([texts[row] for row in units.rows[start:end]], queries)
        for start, end in zip(units.starts, units.starts[1:], strict=False)
    ]
    if len(test.ids):
        np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_sorting_by_the_divergence_puts_like_texts_first_and_those_without_bigrams_last():
    texts = ["x y z", "alone", "a b c", "a b z"]
    pool, queries = count_bigrams(texts, ["a b c", "a b"])
    vectors = unit_rows(np.random.default_rng(0), 4)
    request = make_request(vectors, vectors, measure="bigram_kl", bigrams=(pool, queries))
    plan = arrange("measure", request)
    assert [texts[row] for row in plan.rows] == ["a b c", "a b z", "x y z", "alone"]
    assert np.isnan(plan.distance[-1])
