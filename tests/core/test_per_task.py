"""Rows taken task by task before the global order, against plain loops and the authors' script."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.arrangements import METHODS, Request, arrange
from orchestrator.core.arrangements.per_task import arrange_per_task
from orchestrator.core.arrangements.scored import arrange_by
from orchestrator.core.bigrams import count_bigrams
from orchestrator.core.units import groups, instances
from tests.core.pools import make_request, unit_rows
from tests.core.test_scored import ORDERS, plain_sandwich

SCORED = [name for name, method in METHODS.items() if "per_task" in method.reads]


def authors(vectors, queries, tasks, count):
    """`choose_flan_per_task_job.py`, lines 53 to 129, on arrays: both selections in their order."""

    def by_distance(rows):
        distances = -vectors[rows].astype(np.float64) @ queries.astype(np.float64).T
        least, average = distances.min(axis=1), distances.mean(axis=1)
        return rows[np.argsort(least + least.mean() / average.mean() * average)]

    polar, uniform = [], []
    for task in dict.fromkeys(tasks.tolist()):
        rows = by_distance(np.flatnonzero(tasks == task))
        if len(rows) < count:
            polar.extend(rows)
            uniform.extend(rows)
            continue
        polar.extend([*rows[: count // 2], *rows[-(count // 2) :]])
        uniform.extend(rows[:: len(rows) // count])
    return by_distance(np.array(polar)).tolist(), by_distance(np.array(uniform)).tolist()


@pytest.mark.parametrize("count", [2, 6, 20])
def test_polar_and_uncut_uniform_by_wsd_are_the_order_of_the_authors_script(count):
    rng = np.random.default_rng(count)
    pool, queries, tasks = unit_rows(rng, 400), unit_rows(rng, 30), rng.integers(0, 11, 400)
    request = {"groups": groups(tasks), "per_task": count, "cut": False}
    polar, uniform = authors(pool, queries, tasks, count)
    plan = arrange("wsd", make_request(pool, queries, selection="polar", **request))
    assert plan.rows.tolist() == polar
    plan = arrange("wsd", make_request(pool, queries, selection="uniform", **request))
    assert plan.rows.tolist() == uniform
    cut = arrange(
        "wsd", make_request(pool, queries, selection="uniform", **request | {"cut": True})
    )
    assert len(cut) == 11 * count < len(plan)


def plain_choice(scores, selection, count):
    """Places of a task's rows by loops, ties to the lowest row from either end."""
    near = sorted(range(len(scores)), key=lambda place: (scores[place], place))
    far = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    if len(scores) <= count:
        return near
    if selection == "uniform":
        return [near[number * len(scores) // count] for number in range(count)]
    first = near[: count // 2]
    return first + [place for place in far if place not in first][: count - len(first)]


def by_first_column(request):
    """A method that sorts by the first number of each vector."""
    return arrange_by(request.vectors[:, 0], request)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=60),
    count=st.integers(1, 9),
    selection=st.sampled_from(["polar", "uniform"]),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 9),
)
def test_each_task_gives_its_ends_or_an_even_spread_and_the_whole_is_ordered_at_last(
    rows, count, selection, order, seed
):
    scores, labels = np.array(rows, np.float64).T
    units = instances(len(rows))
    request = Request(
        units, groups(labels.astype(np.int64)), vectors=scores[:, None], per_task=count,
        selection=selection, order=order, seed=seed,
    )  # fmt: skip
    plan = arrange_per_task(by_first_column, request)
    chosen = []
    for task in set(labels):
        of_task = np.flatnonzero(labels == task)
        chosen += of_task[plain_choice(scores[of_task], selection, count)].tolist()
    sign = -1 if order == "farthest_first" else 1
    expected = sorted(chosen, key=lambda row: (sign * scores[row], row))
    if order == "random":
        expected = np.random.default_rng(seed).permutation(sorted(chosen)).tolist()
    if order == "sandwich":
        expected = plain_sandwich(expected, [[row] for row in expected])
    assert plan.rows.tolist() == expected
    assert plan.unit.tolist() == plan.rows.tolist()
    assert np.array_equal(plan.distance, scores[plan.rows])


@pytest.mark.parametrize("method", SCORED)
def test_every_method_that_scores_takes_a_plan_of_its_own_task_by_task(method):
    rng = np.random.default_rng(3)
    pool, queries, labels = unit_rows(rng, 50), unit_rows(rng, 6), rng.integers(0, 4, 50)
    options = {"options": METHODS[method].options, "measure": "cosine_max"}
    plan = arrange(
        method,
        make_request(
            pool, queries, groups=groups(labels), per_task=4, selection="polar", **options
        ),
    )
    for task in range(4):
        of_task = np.flatnonzero(labels == task)
        alone = arrange(method, make_request(pool[of_task], queries, **options))
        by_score = of_task[alone.rows[np.argsort(alone.distance, kind="stable")]]
        taken = plan.rows[labels[plan.rows] == task]
        assert set(taken) == {*by_score[:2], *by_score[-2:]}
    chosen = np.sort(plan.rows)
    again = arrange(method, make_request(pool[chosen], queries, **options))
    assert plan.rows.tolist() == chosen[again.rows].tolist()
    assert np.array_equal(plan.distance, again.distance)


def test_texts_are_taken_task_by_task_as_well():
    texts = ["a b", "a b c", "x y", "y z", "b c", "q r"]
    bigrams = count_bigrams(texts, ["a b c d"])
    rows = instances(6)
    request = make_request(
        unit_rows(np.random.default_rng(0), 6), unit_rows(np.random.default_rng(1), 2),
        groups=groups(np.array([0, 0, 0, 1, 1, 1])), per_task=2, selection="polar",
        measure="bigram_kl", bigrams=(bigrams[0].of_units(rows), bigrams[1]),
    )  # fmt: skip
    plan = arrange("measure", request)
    assert set(plan.rows.tolist()) == {1, 2, 4, 3}  # nearest and farthest, ties to the lowest


def test_what_cannot_be_taken_task_by_task_is_refused():
    pool = unit_rows(np.random.default_rng(6), 6)
    labels = groups(np.array([0, 0, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match="set per_task"):
        arrange("wsd", make_request(pool, pool, groups=labels, selection="polar"))
    with pytest.raises(ValueError, match="granularity: instance"):
        arrange("wsd", make_request(pool, pool, labels, per_task=2, selection="uniform"))
    with pytest.raises(ValueError, match="selection 'polar'"):
        arrange("tma", make_request(pool, pool, groups=labels, per_task=2, selection="polar"))
