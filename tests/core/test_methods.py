"""What holds of every method, and of methods that other packages declare."""

import re
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.config.arrangement import Arrangement
from orchestrator.core import arrangements
from orchestrator.core.arrangements import METHODS, Method, arrange, find_method
from orchestrator.core.plan import Plan, in_passes
from orchestrator.core.quadratic import Course, Influence
from tests.core.pools import blocks_of, make_request, pool_with_duplicates, unit_rows, units_at

ROWS = 90
SELECTING = [name for name, method in METHODS.items() if "selection" in method.reads]
GRANULARITIES = ["instance", "clusters", "task"]
MOVING = sorted(METHODS.keys() - {"searched"})  # units of any granularity


def influence(rng):
    """Of the pool on the queries, as gradients of a model would have it."""
    pool, tests = (rng.normal(size=(rows, 5)).astype(np.float32) for rows in (ROWS, 12))
    return Influence(pool, np.ones(ROWS), tests, np.ones(12), Course(8, lambda *_: 0.01))


def request_for(method, granularity, **settings):
    """More queries than units of tasks, many duplicates."""
    rng = np.random.default_rng(3)
    tasks = rng.integers(0, 9, ROWS)
    return make_request(
        pool_with_duplicates(3, ROWS, 50), unit_rows(rng, 12), units_at(granularity, tasks),
        options=METHODS[method].options, listed=rng.permutation(ROWS),
        answers=rng.integers(0, 60, ROWS), influence=influence(rng), **settings,
    )  # fmt: skip


@pytest.mark.parametrize("selection", ["nearest", "farthest", "both_ends", "random", "all"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("method", SELECTING)
def test_the_orders_of_a_selection_are_sequences_of_one_set_of_the_budgeted_size(
    method, granularity, selection
):
    rows = None if selection == "all" else 41
    plans = [
        arrange(method, request_for(method, granularity, selection=selection, order=order,
                                    rows=rows, seed=7)).rows.tolist()
        for order in ("nearest_first", "farthest_first", "random")
    ]  # fmt: skip
    assert all(len(plan) == len(set(plan)) == (rows or ROWS) for plan in plans)
    assert len({frozenset(plan) for plan in plans}) == 1
    assert len({tuple(plan) for plan in plans}) == 3


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("method", MOVING)
def test_without_a_budget_every_method_plans_the_whole_pool_and_repeats_itself(method, granularity):
    plan, again = (arrange(method, request_for(method, granularity)) for _ in range(2))
    assert sorted(plan.rows.tolist()) == list(range(ROWS))
    assert plan.rows.tolist() == again.rows.tolist()
    assert len(plan.turn) == len(plan.unit) == len(plan.distance) == ROWS


@pytest.mark.parametrize("granularity", ["clusters", "task"])
@pytest.mark.parametrize("method", sorted(set(MOVING) - {"round_robin", "given", "length_matched"}))
def test_units_are_moved_whole_in_pool_order(method, granularity):
    request = request_for(method, granularity)
    blocks, plan = blocks_of(request.units), arrange(method, request)
    order = list(dict.fromkeys(plan.unit.tolist()))
    assert plan.rows.tolist() == [row for unit in order for row in blocks[unit]]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("method", sorted(set(MOVING) - set(SELECTING)))
def test_a_budget_in_rows_cuts_the_plan_short_and_changes_nothing_else(method, granularity):
    whole = arrange(method, request_for(method, granularity, seed=5))
    plan = arrange(method, request_for(method, granularity, seed=5, rows=41))
    assert plan.rows.tolist() == whole.rows.tolist()[:41]


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_of_more_rows_begins_with_that_of_fewer_where_the_method_says_that_it_grows(method):
    """It is what `equal_lengths` takes rows by; `searched` fills lengths itself."""
    ends = {"nearest": "nearest_first", "farthest": "farthest_first"}
    grows = True
    for selection, order in ends.items():
        fewer, more = (
            arrange(method, request_for(method, "instance", selection=selection, order=order,
                                        rows=rows, seed=5)).rows.tolist()
            for rows in (30, 60)
        )  # fmt: skip
        grows &= more[:30] == fewer
    assert grows == METHODS[method].grows


@pytest.mark.parametrize("method", METHODS)
def test_a_study_may_name_an_arm_wherever_it_may_name_selection_and_order(method):
    reads = METHODS[method].reads
    assert len({"arm", "selection", "order"} & reads) in (0, 3)
    if "arm" in reads:
        arrangement = Arrangement(method=method, arm="nft", rows=30)
        assert (arrangement.selection, arrangement.order) == ("both_ends", "nearest_first")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_titles_its_distances_where_its_plans_have_any(method):
    plan = arrange(method, request_for(method, "instance"))
    assert np.isnan(plan.distance).all() == (METHODS[method].distance == "")


def test_a_given_order_is_planned_as_it_is():
    request = request_for("given", "task")
    plan = arrange("given", request)
    assert plan.rows.tolist() == request.listed.tolist()
    blocks = blocks_of(request.units)
    assert all(row in blocks[unit] for row, unit in zip(plan.rows, plan.unit, strict=True))


def test_an_unknown_method_is_refused_with_the_list_of_methods():
    pool = unit_rows(np.random.default_rng(17), 5)
    with pytest.raises(ValueError, match=r"'best' does not exist: choose random, .*tma, .*rds"):
        arrange("best", make_request(pool, pool))


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path that declares methods, seen as pip would leave it."""
    (tmp_path / "reversing.py").write_text(
        "import numpy as np\n"
        "from orchestrator.core.arrangements import Method\n"
        "from orchestrator.core.plan import Plan\n"
        "def arrange(request):\n"
        "    rows = np.arange(len(request.units.rows))[::-1][: request.rows]\n"
        "    return Plan(rows, 0 * rows, rows, np.full(len(rows), np.nan))\n"
        "METHOD = Method(arrange, embeds=False, options={'depth': 2})\n"
    )
    folder = tmp_path / "reversing-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: reversing\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"[{arrangements.ENTRY_POINTS}]\n"
        "reversed = reversing:METHOD\nbare = reversing:arrange\ngone = reversing:NOTHING\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    arrangements._installed.cache_clear()
    yield
    arrangements._installed.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_method_of_an_installed_package_can_be_named_in_a_study_and_arranges():
    assert find_method("reversed").options == {"depth": 2}
    arrangement = Arrangement(method="reversed", rows=3)
    assert arrangement.options == {"depth": 2}
    pool = unit_rows(np.random.default_rng(1), 5)
    assert arrange("reversed", make_request(pool, pool, rows=3)).rows.tolist() == [4, 3, 2]
    assert arrangements.method_names()[-3:] == ["reversed", "bare", "gone"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "fault"), [("bare", "is a function; make it an"), ("gone", "no attribute 'NOTHING'")]
)
def test_what_is_no_method_or_cannot_be_imported_is_refused_by_name(name, fault):
    with pytest.raises(ValueError, match=rf"method '{name}': the entry point reversing:.*{fault}"):
        find_method(name)
    with pytest.raises(ValueError, match=fault):
        Arrangement(method=name)


ROWS_OF_FIVE = "rows = np.arange(5); "
FINE = "Plan(rows, 0 * rows, rows, np.full(len(rows), np.nan))"


@pytest.mark.scenario("repeated-crash")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "returned a NoneType: let it return an orchestrator.core.plan.Plan"),
        (ROWS_OF_FIVE + "return rows", "returned a ndarray: let it return"),
        (
            ROWS_OF_FIVE + "return Plan(rows / 1, 0 * rows, rows, rows / 1)",
            "returned a plan whose rows are float64: make them integer numbers",
        ),
        (
            ROWS_OF_FIVE + "return Plan(rows, [0] * 5, rows, rows / 1)",
            "returned a plan whose turn are list: make them integer numbers",
        ),
        (
            ROWS_OF_FIVE + "return Plan(rows, rows[1:], rows, rows / 1)",
            "a plan with turn of shape (4,) and rows of shape (5,): give (n,) each",
        ),
        (ROWS_OF_FIVE + f"return {FINE}", "planned 5 rows, and arrangement.rows is 3: it has to"),
        (
            "rows = np.array([0, 5]); return " + FINE,
            "rows that the pool of 5 does not have",
        ),
        ("rows = np.array([-1]); return " + FINE, "rows that the pool of 5 does not have"),
        (
            ROWS_OF_FIVE + f"return {FINE[:-1]}, query=rows + 1)",
            "planned by queries that are none of the 5",
        ),
        ("rows = np.array([1, 1]); return " + FINE, "planned a row twice; every row may come once"),
        (
            "return request.vectors[9]",
            "failed with IndexError: index 9 is out of bounds for axis 0 with size 5 (mine.py",
        ),
        ("raise ValueError('give options.depth above 0')", "give options.depth above 0"),
    ],
)
def test_a_plan_of_a_method_of_another_package_is_checked_against_the_contract(
    monkeypatch, body, said
):
    scope = {"np": np, "Plan": Plan}
    exec(compile(f"def arrange(request):\n    {body}\n", "mine.py", "exec"), scope)
    monkeypatch.setitem(METHODS, "mine", Method(scope["arrange"]))
    pool = unit_rows(np.random.default_rng(1), 5)
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        arrange("mine", make_request(pool, pool, rows=3))
    assert str(refused.value).startswith(("method 'mine' ", "give options"))


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"searched"}))
def test_a_method_that_says_it_draws_nothing_plans_the_same_under_every_seed(method):
    found = METHODS[method]
    for selection, order in (
        ("all", "nearest_first"),
        ("nearest", "random"),
        ("random", "sandwich"),
    ):
        chosen = {"selection": selection, "order": order} if "selection" in found.reads else {}
        rows = None if chosen.get("selection") == "all" else 41
        requests = [
            request_for(method, "instance", seed=seed, rows=rows, **chosen) for seed in range(3)
        ]
        plans = {tuple(arrange(method, request).rows.tolist()) for request in requests}
        assert (len(plans) > 1) == found.draws(requests[0])


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        ("tma", {"selection": "nearest"}),
        ("tma", {"selection": "nearest", "options": {"redundancy": 1.0}}),
        ("tma", {"selection": "farthest", "order": "random"}),
        ("tma", {"selection": "both_ends", "within_turn": "distance", "order": "sandwich"}),
        ("rds", {}),
        ("measure", {"measure": "cosine_min", "selection": "nearest"}),
    ],
)
def test_the_distance_of_a_row_is_that_to_the_query_that_chose_it(method, setting):
    rng = np.random.default_rng(5)
    pool, queries = unit_rows(rng, 40), unit_rows(rng, 7)
    plan = arrange(method, make_request(pool, queries, rows=24, **setting))
    cosines = (pool[plan.unit].astype(np.float64) * queries[plan.query]).sum(axis=1)
    np.testing.assert_allclose(-cosines, plan.distance, atol=1e-12)
    assert len(np.unique(plan.query)) > 1


def test_a_plan_in_passes_keeps_the_queries_that_are_known():
    rows = np.arange(3)
    known = Plan(rows, 0 * rows, rows, rows / 1, query=rows + 4)
    assert in_passes([known, known.take(slice(None, None, -1))]).query.tolist() == [
        4,
        5,
        6,
        6,
        5,
        4,
    ]
    silent = replace(known, query=None)
    assert in_passes([silent, known]).query.tolist() == [-1, -1, -1, 4, 5, 6]
    assert in_passes([silent, silent]).query is None
