"""Measure curves against a computation from scratch at every point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import measures
from orchestrator.core.bigrams import count_bigrams
from orchestrator.core.measures import MEASURES, measure_curves, unit_measures
from tests.core.pools import pool_with_duplicates, unit_rows
from tests.core.texts import plain_divergence, texts_of


def plain_measures(seen, queries):
    """The eight measures of all rows against all queries, in the order of MEASURES."""
    seen, queries = seen.astype(np.float64), queries.astype(np.float64)
    cosine = -(seen[:, None] * queries).sum(axis=2)
    euclidean = np.sqrt(((seen[:, None] - queries) ** 2).sum(axis=2))
    a, b = seen.mean(axis=0), queries.mean(axis=0)
    centroids = [-(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), np.linalg.norm(a - b)]
    return [
        value
        for pairs, centroid in zip((cosine, euclidean), centroids, strict=True)
        for value in (pairs.mean(), pairs.min(), pairs.max(), centroid)
    ]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 60), distinct=st.integers(1, 12),
    queries=st.integers(1, 70), tasks=st.integers(1, 5), points=st.integers(1, 9),
    block_rows=st.integers(1, 20),
)  # fmt: skip
def test_curves_in_one_pass_equal_measures_from_scratch_at_every_point_and_task(
    seed, rows, distinct, queries, tasks, points, block_rows
):
    rng = np.random.default_rng(seed)
    plan, test = pool_with_duplicates(seed, rows, distinct), unit_rows(rng, queries)
    groups = np.unique(rng.integers(0, tasks, queries), return_inverse=True)[1]
    points = np.sort(rng.integers(1, rows + 1, points))
    texts, test_texts = texts_of(rng, rows), texts_of(rng, queries)
    bigrams = count_bigrams(texts, test_texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_BYTES", 8 * (queries + 8) * block_rows)
        curves = measure_curves(plan, test, groups, points, bigrams)
    assert curves.shape == (len(points), 2 + groups.max(), len(MEASURES))
    for at, point in enumerate(points):
        for column in range(curves.shape[1]):
            of_task = groups == column - 1 if column else groups >= 0
            expected = plain_measures(plan[:point], test[of_task])
            np.testing.assert_allclose(curves[at, column, :-1], expected, atol=2e-8)
            own = [text for text, wanted in zip(test_texts, of_task, strict=True) if wanted]
            divergence = plain_divergence(texts[:point], own)
            np.testing.assert_allclose(curves[at, column, -1], divergence, atol=1e-9)


def test_without_texts_the_bigram_divergence_alone_is_missing():
    rng = np.random.default_rng(1)
    curves = measure_curves(
        unit_rows(rng, 9), unit_rows(rng, 4), np.zeros(4, np.int64), np.array([3, 9])
    )
    assert np.all(np.isnan(curves[..., -1]))
    assert not np.any(np.isnan(curves[..., :-1]))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 60), distinct=st.integers(1, 9),
    queries=st.integers(1, 40), block_rows=st.integers(1, 20),
)  # fmt: skip
def test_a_unit_has_the_measures_of_a_plan_of_itself_and_duplicates_have_equal_ones(
    seed, rows, distinct, queries, block_rows
):
    pool, test = (
        pool_with_duplicates(seed, rows, distinct),
        pool_with_duplicates(seed + 1, queries, 5),
    )
    pool = np.where(pool == pool.min(), np.float32(-0.0), pool)
    pool[::2][pool[::2] == 0] = 0.0  # equal to -0.0, with other bits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "BLOCK_BYTES", 8 * (queries + 8) * block_rows)
        found = unit_measures(pool, test, [name for name in MEASURES if name != "bigram_kl"])
    for row in range(rows):
        # The centroid of one row scales it to length one; it nearly is.
        length = np.linalg.norm(pool[row].astype(np.float64))
        expected = np.array(plain_measures(pool[row : row + 1], test)) * [
            1,
            1,
            1,
            length,
            1,
            1,
            1,
            1,
        ]
        np.testing.assert_allclose(found[row], expected, atol=2e-8)
    for row in range(rows):
        first = int(np.argmax((pool == pool[row]).all(axis=1)))
        assert np.array_equal(found[row], found[first])


def test_points_and_groups_that_mean_nothing_are_refused():
    plan = unit_rows(np.random.default_rng(2), 5)
    one = np.zeros(5, np.int64)
    for points in ([0], [6], [3, 2]):
        with pytest.raises(ValueError, match="points must not fall, from 1 to the plan's 5 rows"):
            measure_curves(plan, plan, one, np.array(points))
    with pytest.raises(ValueError, match="as many groups"):
        measure_curves(plan, plan, one[:4], np.array([1]))
    with pytest.raises(ValueError, match="without a gap"):
        measure_curves(plan, plan, one + 1, np.array([1]))
