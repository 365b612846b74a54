"""Methods that sort by a score, against scores and selections written out in plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import Request, arrange
from orchestrator.core.arrangements.scored import arrange_by
from orchestrator.core.measures import MEASURES
from orchestrator.core.units import instances, unit_vectors
from tests.core.pools import blocks_of, make_request, pool_with_duplicates, unit_rows, units_at

SELECTIONS = ["nearest", "farthest", "both_ends", "random", "all"]
ORDERS = ["nearest_first", "farthest_first", "random", "sandwich"]
POOLS = {
    "seed": st.integers(0, 10**6),
    "rows": st.integers(1, 50),
    "queries": st.integers(1, 70),
    "distinct": st.integers(1, 12),
    "granularity": st.sampled_from(["instance", "task"]),
}


def plain_selection(scores, blocks, selection, order, budget, *, cut, seed):
    """Rows of a plan by loops over units, each end ranked with ties to the lowest unit."""
    ends = {
        "nearest_first": sorted(range(len(blocks)), key=lambda unit: (scores[unit], unit)),
        "farthest_first": sorted(range(len(blocks)), key=lambda unit: (-scores[unit], unit)),
    }
    walks = {end: [row for unit in units for row in blocks[unit]] for end, units in ends.items()}

    def take(end, rows):
        taken = []
        for unit in ends[end]:
            if len(taken) < rows:
                taken += blocks[unit]
        return taken[:rows] if cut else taken

    pool = sum(map(len, blocks))
    if selection == "all":
        chosen = set(range(pool))
    elif selection == "random":
        chosen = set(np.random.default_rng(seed).permutation(pool)[:budget].tolist())
    elif selection == "both_ends":
        chosen = set(take("nearest_first", budget // 2))
        if cut:
            rest = [row for row in walks["farthest_first"] if row not in chosen]
            chosen |= set(rest[: budget - len(chosen)])
        else:
            chosen |= set(take("farthest_first", budget // 2))
    else:
        chosen = set(take(f"{selection}_first", budget))
    if order == "random":
        return np.random.default_rng(seed).permutation(sorted(chosen)).tolist()
    if order == "sandwich":
        return plain_sandwich([row for row in walks["nearest_first"] if row in chosen], blocks)
    return [row for row in walks[order] if row in chosen]


def plain_sandwich(rows, blocks):
    """Rows from the nearest on, cut at a quarter and at half of them but inside no block."""

    def whole_blocks(count):
        while 0 < count < len(rows) and any({*rows[count - 1 : count + 1]} <= {*b} for b in blocks):
            count += 1
        return count

    near = whole_blocks((len(rows) + 1) // 2)
    half = min(near, whole_blocks((near + 1) // 2))
    return rows[:half] + rows[near:] + rows[half:near]


@settings(deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=30),
    granularity=st.sampled_from(["instance", "task"]),
    selection=st.sampled_from(SELECTIONS),
    order=st.sampled_from(ORDERS),
    budget=st.integers(1, 40),
    cut=st.booleans(),
    seed=st.integers(0, 9),
)
def test_selection_and_order_by_a_score_equal_the_plain_procedure_with_many_ties(
    scores, granularity, selection, order, budget, cut, seed
):
    labels = np.random.default_rng(seed).integers(0, 8, len(scores))
    units = units_at(granularity, labels)
    scores = np.array(scores[: len(units)], np.float64)
    request = Request(
        units, units, selection=selection, order=order, rows=budget, cut=cut, seed=seed
    )
    plan = arrange_by(scores, request)
    expected = plain_selection(
        scores, blocks_of(units), selection, order, budget, cut=cut, seed=seed
    )
    assert plan.rows.tolist() == expected
    assert np.array_equal(plan.distance, scores[plan.unit])
    assert all(row in units.rows[units.starts[unit] : units.starts[unit + 1]]
               for row, unit in zip(plan.rows, plan.unit, strict=True))  # fmt: skip


def plain_scores(vectors, queries, name):
    vectors, queries = vectors.astype(np.float64), queries.astype(np.float64)
    cosine = -(vectors[:, None] * queries).sum(axis=2)
    if name == "wsd":
        least, average = cosine.min(axis=1), cosine.mean(axis=1)
        return least + least.mean() / average.mean() * average
    euclidean = np.sqrt(((vectors[:, None] - queries) ** 2).sum(axis=2))
    middle = queries.mean(axis=0)
    space, statistic = name.split("_")
    if statistic == "centroid":
        if space == "cosine":
            return -(vectors * (middle / np.linalg.norm(middle))).sum(axis=1)
        return np.linalg.norm(vectors - middle, axis=1)
    pairs = cosine if space == "cosine" else euclidean
    return {"avg": np.mean, "min": np.min, "max": np.max}[statistic](pairs, axis=1)


@settings(max_examples=60, deadline=None)
@given(**POOLS, name=st.sampled_from(["wsd", *MEASURES[:-1]]))
def test_wsd_and_the_measures_sort_units_by_their_plain_formula_ties_to_the_lowest(
    seed, rows, queries, distinct, granularity, name
):
    rng = np.random.default_rng(seed)
    pool, test = pool_with_duplicates(seed, rows, distinct), unit_rows(rng, queries)
    units = units_at(granularity, rng.integers(0, 9, rows))
    method, measure = ("wsd", "cosine_min") if name == "wsd" else ("measure", name)
    plan = arrange(method, make_request(pool, test, units, measure=measure))
    scores = plain_scores(unit_vectors(pool, units), test, name)
    # WSD divides by a mean that may be near 0, which magnifies rounding; a Euclidean distance
    # below 1e-7 is rounding.
    np.testing.assert_allclose(plan.distance, scores[plan.unit], rtol=1e-7, atol=1e-7)
    order = list(dict.fromkeys(plan.unit.tolist()))
    vectors, rounding = unit_vectors(pool, units), 1e-7 if "euclidean" in name else 1e-9
    for before, after in zip(order, order[1:], strict=False):
        assert scores[before] <= scores[after] + rounding * (1 + abs(scores[after]))
        if np.array_equal(vectors[before], vectors[after]):
            assert before < after


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("folds", [1, 3, 7, 100])
def test_folding_lays_strided_layers_of_the_sorted_units_end_to_end(folds, order):
    rng = np.random.default_rng(4)
    pool, queries = unit_rows(rng, 50), unit_rows(rng, 6)
    settings_ = {"order": order, "measure": "euclidean_avg", "seed": 3}
    sorted_rows = arrange("measure", make_request(pool, queries, **settings_)).rows.tolist()
    plan = arrange("folding", make_request(pool, queries, options={"folds": folds}, **settings_))
    layers = [sorted_rows[layer::folds] for layer in range(folds)]
    assert plan.rows.tolist() == [row for layer in layers for row in layer]
    assert plan.turn.tolist() == [turn for turn, layer in enumerate(layers) for _ in layer]


def test_folding_moves_tasks_whole():
    rng = np.random.default_rng(5)
    pool, tasks = unit_rows(rng, 40), rng.integers(0, 7, 40)
    units = units_at("task", tasks)
    request = make_request(pool, unit_rows(rng, 4), units, options={"folds": 2})
    folded, plain = (arrange(method, request) for method in ("folding", "measure"))
    order = list(dict.fromkeys(plain.unit.tolist()))
    blocks = blocks_of(units)
    assert folded.rows.tolist() == [r for unit in order[::2] + order[1::2] for r in blocks[unit]]


def test_what_a_scored_method_cannot_do_is_refused():
    pool, axes = unit_rows(np.random.default_rng(6), 6), np.eye(8, dtype=np.float32)
    with pytest.raises(ValueError, match=r"options\.folds is 0: give 1 or more"):
        arrange("folding", make_request(pool, pool, options={"folds": 0}))
    with pytest.raises(ValueError, match="choose cosine_avg"):
        arrange("measure", make_request(pool, pool, measure="best"))
    with pytest.raises(ValueError, match="needs texts"):
        arrange("measure", make_request(pool, pool, measure="bigram_kl"))
    with pytest.raises(ValueError, match="needs the vectors"):
        arrange("wsd", Request(instances(3), instances(3)))
    with pytest.raises(ValueError, match="exactly 0"):
        arrange("wsd", make_request(axes, np.stack([axes[0], -axes[0]])))
    with pytest.raises(ValueError, match="selection 'middle'"):
        arrange("wsd", make_request(pool, pool, selection="middle"))
    with pytest.raises(ValueError, match="order 'sideways'"):
        arrange("wsd", make_request(pool, pool, order="sideways"))
