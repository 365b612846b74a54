"""The `arrangement` section: what it accepts, what it resolves, and what it says of the rest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import dump_yaml
from orchestrator.config.arrangement import ARMS, Arrangement
from orchestrator.config.strict_yaml import parse
from orchestrator.core.arrangements import METHODS, Method
from orchestrator.core.measures import MEASURES

COUNTS = st.integers(1, 1000)
FREE = {
    "granularity": st.sampled_from(["instance", "task"])
    | st.builds(lambda k, seed: {"clusters": k, "seed": seed}, COUNTS, st.integers(0, 9))
    | st.builds(lambda k: {"clusters": k}, COUNTS),
    "cut": st.booleans(),
    "within_turn": st.sampled_from(["row", "distance"]),
    "measure": st.sampled_from(MEASURES),
}
ORDERS = st.sampled_from(["nearest_first", "farthest_first", "random", "sandwich"])
OPTIONS = {
    "folding": st.fixed_dictionaries({"folds": COUNTS}),
    "searched": st.fixed_dictionaries(
        {"evaluations": COUNTS, "scale": st.floats(0.01, 9), "curvature": st.floats(0.01, 9)}
    ),
    "length_matched": st.fixed_dictionaries({"tolerance": st.floats(0, 1)}),
    "given": st.fixed_dictionaries({"path": st.text("ab/. é", min_size=1)}),
}
WINDOWS = st.lists(st.integers(0, 99), min_size=2, max_size=2, unique=True).map(sorted)


@st.composite
def sections(draw):
    """Every kind of section that a study may hold."""
    method = draw(st.sampled_from(list(METHODS)))
    reads = METHODS[method].reads
    section = {key: draw(FREE[key]) for key in sorted(FREE.keys() & reads) if draw(st.booleans())}
    if method in OPTIONS and (method == "given" or draw(st.booleans())):
        section["options"] = draw(OPTIONS[method])
    if "selection" in reads:
        section |= draw(selections(turns="turns" in reads))
    elif draw(st.booleans()):
        section[draw(st.sampled_from(["rows", "answer_tokens"]))] = draw(COUNTS)
    return section | {"method": method}


@st.composite
def selections(draw, *, turns):
    if draw(st.booleans()):
        return {"arm": draw(st.sampled_from(list(ARMS))), "rows": draw(COUNTS)}
    if not turns and draw(st.booleans()):
        # Single rows are all that a task can give a part of.
        selection = draw(st.sampled_from(["polar", "uniform"]))
        return {"selection": selection, "order": draw(ORDERS), "per_task": draw(COUNTS),
                "granularity": "instance"}  # fmt: skip
    selection = draw(st.sampled_from(["nearest", "farthest", "both_ends", "random", "all"]))
    budgets = [{} if selection == "all" else {"rows": COUNTS}]
    if selection != "all":
        budgets.append({"answer_tokens": COUNTS})
    if turns and selection in ("nearest", "farthest", "both_ends"):
        budgets.append({"rows": COUNTS, "turns": COUNTS})
    if turns and selection in ("nearest", "farthest"):
        budgets.append({"turn_window": WINDOWS})
    budget = draw(st.fixed_dictionaries(draw(st.sampled_from(budgets))))
    return {"selection": selection, "order": draw(ORDERS)} | budget


@settings(deadline=None)
@given(sections())
def test_every_dump_loads_back_as_an_equal_value_and_names_no_arm(section):
    arrangement = Arrangement.model_validate(section)
    dumped, _, faults = parse(dump_yaml(arrangement))
    assert not faults
    assert Arrangement.model_validate(dumped) == arrangement
    assert dumped.get("arm") is None
    read = METHODS[arrangement.method].reads - ({"per_task"} - section.keys())
    assert {"method", *read} <= dumped.keys()
    assert {key: dumped[key] for key in section.keys() - {"arm", "granularity"}} == {
        key: section[key] for key in section.keys() - {"arm", "granularity"}
    }


def test_a_section_without_rows_of_each_task_is_written_as_before_there_were_any():
    assert "per_task" not in Arrangement(method="wsd").model_dump()
    dumped = Arrangement(method="wsd", selection="polar", per_task=20).model_dump()
    assert dumped["per_task"] == 20


@pytest.mark.parametrize(
    ("arm", "selection", "order"),
    [
        ("nft", "both_ends", "nearest_first"),
        ("fft", "both_ends", "farthest_first"),
        ("rt", "both_ends", "random"),
        ("sandwich", "both_ends", "sandwich"),
        ("min", "nearest", "nearest_first"),
        ("max", "farthest", "farthest_first"),
    ],
)
def test_an_arm_is_its_selection_and_order(arm, selection, order):
    written = Arrangement(selection=selection, order=order, rows=5)
    assert Arrangement(arm=arm, rows=5) == written
    assert Arrangement(arm=arm, order=order, rows=5) == written
    assert dump_yaml(Arrangement(arm=arm, rows=5)) == dump_yaml(written)


def test_a_section_without_a_budget_in_answer_tokens_is_written_as_before_there_was_one():
    assert "answer_tokens" not in Arrangement(arm="min", rows=5).model_dump()
    assert Arrangement(method="random", answer_tokens=5).model_dump()["answer_tokens"] == 5


def test_a_section_without_redundancy_is_written_as_before_there_was_any():
    for options in ({}, {"redundancy": 0}):
        assert "options" not in Arrangement(options=options).model_dump()
    given = Arrangement(arm="min", rows=5, options={"redundancy": 2})
    assert given.model_dump()["options"] == {"redundancy": 2.0}


def test_what_is_left_out_of_options_and_clusters_is_the_default():
    assert Arrangement(method="folding").options == METHODS["folding"].options
    assert Arrangement(method="folding", options={"folds": 7}).options == {"folds": 7}
    granularity = Arrangement.model_validate({"granularity": {"clusters": 4}}).granularity
    assert (granularity.clusters, granularity.seed) == (4, 0)


TOY = Method(METHODS["random"].arrange, options={"share": 0.5, "deep": 2, "kind": "a", "on": True})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("share: much", 'options.share is "much": give a number, such as 0.5'),
        ("share: .nan", "options.share is NaN: give a number, such as 0.5"),
        ("deep: 2.5", "options.deep is 2.5: give a whole number, such as 2"),
        ("deep: true", "options.deep is true: give a whole number, such as 2"),
        ("kind: 1", 'options.kind is 1: give text, such as "a"'),
        ("on: 1", "options.on is 1: give true or false, such as true"),
        ("shares: 1", "options.shares is not an option of method: toy: did you mean share?"),
    ],
)
def test_an_option_has_the_type_of_its_default(faults, monkeypatch, option, said):
    monkeypatch.setitem(METHODS, "toy", TOY)
    assert faults("", f"arrangement={{method: toy, options: {{{option}}}}}") == [
        f"--set arrangement: arrangement: {said}"
    ]


def test_a_whole_number_is_a_number(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", TOY)
    share = Arrangement(method="toy", options={"share": 1}).options["share"]
    assert (share, type(share)) == (1.0, float)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("method: tmb", ".method: method 'tmb' does not exist: did you mean tma?"),
        ("measure: cosine", ".measure: measure 'cosine' does not exist: choose cosine_avg, "),
        ("arm: nftt", '.arm is "nftt": give nft, fft, rt, sandwich, min, max or null'),
        ("arm: [nft]", '.arm is ["nft"]: give nft, fft, rt, sandwich, min, max or null'),
        (
            "{arm: nft, selection: nearest, rows: 4}",
            ": arm: nft means selection: both_ends; leave out selection: nearest or arm",
        ),
        ("{method: random, arm: nft}", ": method: random does not read arm: leave it out"),
        ("measure: bigram_kl", ": method: tma does not read measure: leave it out"),
        (
            "{method: wsd, turns: 3, within_turn: row}",
            ": method: wsd does not read turns, within_turn: leave them out",
        ),
        ("granularity: {clusters: 0}", ".granularity.clusters is 0: give a whole number above 0"),
        ("granularity: {clusters: 2, sed: 1}", ".granularity.sed is not a key: did you mean seed?"),
        ("granularity: task_like", '"task_like": give instance, task or a mapping of clusters'),
        ("turn_window: [2]", ".turn_window is [2]: give a list of 2, each a whole number of 0 or"),
        (
            "{selection: nearest, turn_window: [2, 2]}",
            ": turn_window: [2, 2] holds no turn: [0, 5] holds five",
        ),
        (
            "{selection: both_ends, turn_window: [0, 5]}",
            ": turn_window counts turns from one end: set selection: nearest or farthest",
        ),
        ("{selection: nearest, turns: 2, turn_window: [0, 5]}", "and leave out turns"),
        ("turn_window: [0, 5]", ": selection: all takes the whole pool: leave out turn_window, or"),
        ("{rows: 2, turns: 3}", "leave out rows and turns, or choose selection: nearest, farthest"),
        ("arm: nft", ": selection: both_ends needs a budget: set rows, answer_tokens or turns"),
        ("arm: min", ": selection: nearest needs a budget: set rows, answer_tokens, turns or"),
        ("{method: ot, arm: min}", ": selection: nearest needs a budget: set rows or answer_"),
        (
            "{selection: random, rows: 2, turns: 3}",
            ": selection: random has a budget in rows or answer_tokens alone",
        ),
        ("{method: wsd, selection: polar}", ": selection: polar takes a number of rows of each"),
        (
            "{method: wsd, selection: uniform, rows: 9}",
            "of each task: set per_task in place of rows",
        ),
        ("{method: wsd, selection: polar, per_task: 9, rows: 9}", "set per_task in place of rows"),
        (
            "{method: wsd, selection: polar, per_task: 9, granularity: task}",
            ": selection: polar takes single rows of each task: leave out granularity",
        ),
        (
            "{method: ot, arm: nft, per_task: 9}",
            ": per_task is not for selection: both_ends: leave it out, or set selection: polar or",
        ),
        (
            "{selection: polar, rows: 9}",
            "method: tma has none: set method: wsd, ot, measure or folding",
        ),
        ("{selection: polar, per_task: 9}", ": method: tma does not read per_task: leave it out"),
        ("{method: wsd, options: {folds: 3}}", "not an option of method: wsd: no keys are read"),
        ("{options: {redundnacy: 1}}", "not an option of method: tma: did you mean redundancy?"),
        (
            "{arm: min, rows: 3, options: {redundancy: -1}}",
            ": options.redundancy is -1.0: give 0 or more, such as 1",
        ),
        (
            "{arm: nft, rows: 3, options: {redundancy: 1}}",
            "selection is both_ends: only turns from the near end can allow for redundancy; set "
            "selection: nearest, or leave it out",
        ),
        (
            "{method: searched, rows: 3, options: {scale: -1.0}}",
            ": options.scale is -1.0: give a number above 0, such as 0.2",
        ),
        (
            "{method: searched, rows: 3, options: {evaluations: 0}}",
            ": options.evaluations is 0: give 1 or more, such as 300",
        ),
        ("{method: folding, options: null}", ".options is null: give a mapping of the method's"),
        ("{arm: min, turns: 3, equal_lengths: true}", ": equal_lengths has a budget in rows: set"),
        ("{arm: min, rows: 3, turns: 3, equal_lengths: true}", "in rows alone: leave out turns"),
        ("{arm: nft, rows: 3, equal_lengths: true}", "set selection: nearest and order: nearest_"),
        (
            "{method: folding, arm: min, rows: 3, equal_lengths: true}",
            "with fewer rows method: folding plans others, not the first of them: leave it out",
        ),
        ("{arm: min, rows: 3, answer_tokens: 9}", ": rows and answer_tokens both say how much"),
        ("answer_tokens: 9", ": selection: all takes the whole pool: leave out answer_tokens, or"),
        ("method: given", ": method: given needs options.path: set it"),
        ("{method: given, options: {path: 3}}", ": options.path is 3: give text"),
        ("{method: given, options: {path: a}, turns: 3}", "does not read turns: leave it out"),
    ],
)
def test_a_section_without_meaning_is_one_fault_that_says_what_to_type(faults, section, said):
    section = section if section.startswith("{") else f"{{{section}}}"
    (fault,) = faults("", f"arrangement={section}")
    assert fault.startswith("--set arrangement: arrangement")
    assert said in fault


def test_a_plan_that_is_searched_by_the_queries_has_to_be_judged_elsewhere(faults):
    (fault,) = faults("", "arrangement={method: searched, rows: 3}")
    assert fault.endswith(
        "arrangement.method: searched lowers the foreseen loss of data.query, so that no loss on "
        "it can judge the plan: give data.held_out, or take another method"
    )
