"""Several passes over the data: the plan again, or arranged anew by a seed of their own."""

import numpy as np
import pytest

from orchestrator.config.arrangement import Arrangement
from orchestrator.config.training import Training
from orchestrator.core.arrangements import arrange
from orchestrator.core.units import groups
from orchestrator.errors import DataError
from orchestrator.stages.arrange import plan_of_passes
from tests.core.pools import make_request, unit_rows

ROWS = 24
POOL = make_request(
    unit_rows(np.random.default_rng(1), ROWS), unit_rows(np.random.default_rng(2), 3)
)
ARM = {"selection": "both_ends", "rows": 10}


def passes(method, epochs=3, reorder="each", seed=5, request=POOL, **settings):
    """The plan of all passes, and its rows a pass."""

    def arranged(arrangement, own):
        budget = {"answer_tokens": arrangement.answer_tokens}
        if arrangement.rows is not None:
            budget["rows"] = arrangement.rows
        return arrange(method, type(request)(**vars(request) | settings | budget | {"seed": own}))

    first = Arrangement(method="random", answer_tokens=settings.pop("answer_tokens", None))
    plan = plan_of_passes(arranged, first, Training(epochs=epochs, reorder=reorder), seed)
    return plan, plan.rows.reshape(epochs, -1)


def test_one_pass_is_the_plan_of_the_trial_whatever_is_said_of_others():
    for reorder in ("none", "each"):
        plan, _ = passes("random", epochs=1, reorder=reorder)
        assert plan.rows.tolist() == passes("random", epochs=1)[0].rows.tolist()


def test_without_reorder_every_pass_is_the_plan_again_in_all_its_columns():
    plan, rows = passes("tma", reorder="none", order="nearest_first", **ARM)
    once, _ = passes("tma", epochs=1, order="nearest_first", **ARM)
    assert (rows == once.rows).all()
    for column in ("turn", "unit", "distance"):
        assert np.array_equal(getattr(plan, column), np.tile(getattr(once, column), 3))


@pytest.mark.parametrize(
    ("method", "settings"), [("random", {}), ("tma", {"order": "random", **ARM})]
)
def test_a_pass_that_is_arranged_anew_has_the_same_rows_in_another_order(method, settings):
    plan, rows = passes(method, **settings)
    assert (np.sort(rows) == np.sort(rows[0])).all()
    assert len({tuple(each) for each in rows.tolist()}) == 3
    assert rows[0].tolist() == passes(method, epochs=1, **settings)[0].rows.tolist()
    assert plan.rows.tolist() == passes(method, **settings)[0].rows.tolist()
    assert plan.note == ""


def test_no_pass_of_a_seed_is_a_pass_of_the_next_seeds():
    seen = [tuple(each) for seed in range(4) for each in passes("random", seed=seed)[1].tolist()]
    assert len(set(seen)) == len(seen)


def test_an_order_without_chance_stays_as_it_is_and_the_plan_says_so():
    plan, rows = passes("tma", order="nearest_first", **ARM)
    assert (rows == rows[0]).all()
    assert plan.note == "every pass has the same order, in which nothing is random"


def test_a_selection_by_chance_is_drawn_again_and_the_plan_says_of_how_many_rows():
    plan, rows = passes("random", rows=8)
    assert plan.note == (f"the passes of 8 rows draw {len(np.unique(rows)):,} different ones")
    assert len(np.unique(rows)) > 8


def test_passes_of_different_lengths_are_refused_with_what_to_type():
    units = groups(np.repeat(np.arange(4), [1, 2, 9, 12]))
    unequal = make_request(POOL.vectors, POOL.queries, units)

    def arranged(_, own):
        plan = arrange("random", type(unequal)(**vars(unequal) | {"seed": own}))
        return plan.take(slice(0, units.sizes[plan.unit[0]]))  # its first unit, whole

    with pytest.raises(DataError, match=r"rows, and must be equally long: set arrangement\.rows"):
        plan_of_passes(arranged, Arrangement(), Training(epochs=4, reorder="each"), 0)


def test_a_budget_in_answer_tokens_is_that_of_the_first_pass_and_later_ones_have_its_rows():
    answers = np.random.default_rng(0).integers(1, 20, ROWS)
    request = make_request(POOL.vectors, POOL.queries, answers=answers)
    _, rows = passes("random", request=request, answer_tokens=100)
    once, _ = passes("random", 1, request=request, answer_tokens=100)
    assert (rows[0] == once.rows).all()
    assert answers[rows[0]].sum() <= 100
    assert len({tuple(each) for each in rows.tolist()}) == 3
