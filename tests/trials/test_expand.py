import itertools
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.schema import Arrangement
from orchestrator.errors import ConfigError
from orchestrator.trials import Trial, expand
from tests.trials.studies import DATA, assert_safe, demo, grid

HOSTILE = [
    "../x",
    "/etc",
    "super_glue/multirc:1.0.2",
    "CON",
    "con.txt",
    "x" * 300,
    "раper",  # the first two letters are Cyrillic
    "ﬀ／..",
    "..",
    ".",
    "",
    " ",
    "a\x00b\nc",
    "-rf",
    "~",
    "$(ls)",
]
TMA = {"selection": "nearest", "order": "farthest_first", "rows": 5, "cut": False}


def test_a_study_without_axes_is_one_trial_named_after_its_arrangement():
    (trial,) = expand(demo(arrangement=TMA, seed=3))
    assert trial.name == f"tma-{trial.key[:8]}"
    assert (trial.config.seed, trial.config.arrangement.rows) == (3, 5)
    assert (trial.settings, trial.merged) == ({}, 0)


def test_trials_are_the_product_in_the_order_of_the_file_and_the_last_axis_is_fastest():
    sweep = grid(seed=[2, 1], arrangement__granularity=["task", "instance"])
    sweep["paired"] = [[{"label": "a", "training.workers": 1}, {"training.workers": 2}]]
    trials = expand(demo(sweep))
    seen = [
        (t.config.seed, t.config.arrangement.granularity, t.config.training.workers) for t in trials
    ]
    assert seen == list(itertools.product([2, 1], ["task", "instance"], [1, 2]))
    assert trials[1].settings == {
        "seed": 2,
        "arrangement.granularity": "task",
        "training.workers": 2,
    }
    assert trials[0].name == f"seed-2_granularity-task_a-{trials[0].key[:8]}"
    assert trials[1].name == f"seed-2_granularity-task_workers-2-{trials[1].key[:8]}"


def test_a_setting_replaces_the_whole_value_and_leaves_the_rest_of_the_base():
    new = {"reader": "jsonl", "path": "p"}
    trials = expand(demo(grid(data__pool=[new]), training={"workers": 3}))
    assert trials[0].config.data.pool.path == "p"
    assert trials[0].config.data.query.split == "query"
    assert trials[0].config.training.workers == 3


def test_combinations_with_the_same_configuration_are_one_trial_and_are_counted():
    trials = expand(demo(grid(training__learning_rate=[1, 1.0, 2, 1])))
    assert [(t.config.training.learning_rate, t.merged) for t in trials] == [(1.0, 2), (2.0, 0)]
    assert trials[0].settings == {"training.learning_rate": 1}


def key(**sections) -> str:
    (trial,) = expand(demo(**sections))
    return trial.key


def test_the_key_tells_configurations_apart_and_nothing_else():
    assert re.fullmatch("[0-9a-f]{64}", key())
    assert key() == key(seed=0) == key(training={}, evaluation={"every": 10})
    assert key() == key(study="other", output="o", store="s", tracking={"uri": "sqlite:///u.db"})
    assert key() == key(remote_store="s3://team/shared")
    changed = [
        key(),
        key(seed=1),
        key(evaluation={"every": 11}),
        key(evaluation={"sample": 20}),
        key(evaluation={"sample": 0.2}),
        key(evaluation={"generate": {"max_items": 20}}),
        key(model={"name": "x"}),
        key(data={**DATA, "leakage": "drop"}),
        key(training={"betas": [0.9, 0.96]}),
    ]
    assert len(set(changed)) == len(changed)


def test_keys_that_came_later_are_part_of_the_key_once_they_are_set():
    """The digest was taken before there were any."""
    assert key() == "be1fdb85d53e20309e87e4ffcfcce2e72b6a7264591cb1cf78f1a49ce05ee68d"
    assert key(training={"epochs": 1, "reorder": "none"}) == key()
    assert key(training={"save_model": False}) == key()
    assert key(model={"revision": None}) == key() != key(model={"revision": "step3000"})
    assert key(evaluation={"max_length": None}) == key() != key(evaluation={"max_length": 512})
    options = {"arm": "min", "rows": 4, "options": {"redundancy": 0.0}}
    assert key(arrangement=options) == key(arrangement={"arm": "min", "rows": 4})
    assert len({key(), key(training={"epochs": 2}),
                key(training={"epochs": 2, "reorder": "each"})}) == 3  # fmt: skip


def test_a_sample_is_of_no_step_that_a_figure_of_the_claim_names():
    figures = [{"name": "early", "step": 90}, {"name": "late", "step": 9}, {"name": "end"}]
    claim = {"question": "?", "kind": "order", "arms": ["tma", "random"], "figures": figures}
    sweep = grid(evaluation__sample=[None, 20], arrangement__method=["tma", "random"])
    trials = expand(demo(sweep, evaluation={"whole": [30]}, claim=claim))
    assert [t.config.evaluation.whole for t in trials] == [[30], [30], [9, 30, 90], [9, 30, 90]]
    assert trials[0].config.evaluation.measures_whole(40, 99)
    assert [step for step in (0, 9, 10, 30, 90, 99)
            if not trials[2].config.evaluation.measures_whole(step, 99)] == [10]  # fmt: skip


@pytest.mark.parametrize(
    "sweep",
    [
        grid(arrangement__method=["tma", "random"]),
        {"paired": [[{"arrangement.order": "farthest_first"}, {"arrangement.method": "random"}]]},
    ],
)
def test_a_sweep_over_methods_drops_what_the_method_does_not_read(sweep):
    tma, random = expand(demo(sweep, arrangement=TMA))
    assert tma.config.arrangement == Arrangement(**TMA)
    assert random.config.arrangement == Arrangement(method="random", rows=5)
    assert random.config.arrangement.model_fields_set == {"method", "rows"}
    assert random.settings == {"arrangement.method": "random"}
    (alone,) = expand(demo(arrangement={"method": "random", "rows": 5}))
    assert random.key == alone.key


def test_a_sweep_over_methods_drops_the_options_of_other_methods_and_no_misspelt_one(faults):
    base = {"arm": "min", "rows": 5, "options": {"redundancy": 2.0}}
    sweep = grid(arrangement__method=["tma", "length_matched", "random"])
    tma, matched, random = expand(demo(sweep, arrangement=base))
    assert tma.config.arrangement.options == {"redundancy": 2.0}
    assert matched.config.arrangement.options == {"tolerance": 0.1}
    assert random.config.arrangement.options == {}
    folding = {"method": "folding", "options": {"folds": 7}}
    for trial in expand(demo(grid(arrangement__method=["folding", "tma"]), arrangement=folding)):
        (alone,) = expand(demo(arrangement=folding if trial.settings["arrangement.method"] ==
                               "folding" else {"method": "tma"}))  # fmt: skip
        assert trial.key == alone.key
    beside = {"label": "a", "arrangement.method": "tma", "arrangement.options": {"folds": 3}}
    with pytest.raises(ConfigError, match="folds is not an option of method: tma"):
        expand(demo({"paired": [[beside]]}))


def test_axes_that_the_method_does_not_read_do_not_multiply_its_trials():
    orders = ["nearest_first", "farthest_first"]
    sweep = grid(arrangement__method=["random", "tma"], arrangement__order=orders)
    trials = expand(demo(sweep, arrangement=TMA))
    assert [(t.config.arrangement.method, t.merged) for t in trials] == [
        ("random", 1),
        ("tma", 0),
        ("tma", 0),
    ]
    assert trials[0].settings == {"arrangement.method": "random"}
    assert trials[0].name.startswith("method-random-")


def test_a_sweep_over_arms_drops_the_selection_and_order_of_the_base_and_null_keeps_them():
    swept = expand(demo(grid(arrangement__arm=["nft", None, "max"]), arrangement=TMA))
    kept = {"rows": 5, "cut": False}
    assert [trial.config.arrangement for trial in swept] == [
        Arrangement(arm="nft", **kept), Arrangement(**TMA), Arrangement(arm="max", **kept)
    ]  # fmt: skip
    for trial in swept[::2]:
        (alone,) = expand(demo(arrangement={"arm": trial.settings["arrangement.arm"], **kept}))
        assert trial.key == alone.key


def test_an_arm_beside_a_key_that_contradicts_it_in_one_setting_is_refused(faults):
    paired = "sweep: {paired: [[{arrangement.arm: nft, arrangement.order: random}]]}\n"
    (fault,) = faults("arrangement: {selection: nearest, rows: 5}\n" + paired)
    assert "arm: nft means order: nearest_first; leave out order: random or arm" in fault


def test_options_stay_with_the_methods_of_a_sweep_that_have_them():
    base = {"method": "folding", "options": {"folds": 5}}
    sweep = grid(arrangement__method=["folding", "measure", "random"])
    folding, measure, random = expand(demo(sweep, arrangement=base))
    assert folding.config.arrangement == Arrangement(**base)
    assert measure.config.arrangement == Arrangement(method="measure")
    assert random.config.arrangement == Arrangement(method="random")


@pytest.mark.parametrize(
    "axis",
    [
        grid(arrangement__options__folds=[2, 4]),
        grid(arrangement__options=[{"folds": 2}, {"folds": 4}]),
    ],
)
def test_an_axis_of_options_multiplies_the_methods_that_have_them_alone(axis):
    sweep = {
        "parameters": grid(arrangement__method=["folding", "ot"])["parameters"] | axis["parameters"]
    }
    trials = expand(demo(sweep))
    seen = [(t.config.arrangement.method, t.config.arrangement.options, t.merged) for t in trials]
    assert seen == [("folding", {"folds": 2}, 0), ("folding", {"folds": 4}, 0), ("ot", {}, 1)]


def test_clusters_are_a_value_of_a_sweep_and_their_seed_may_be_swept_alone():
    rungs = ["instance", {"clusters": 4}, "task"]
    trials = expand(demo(grid(arrangement__granularity=rungs)))
    assert [t.config.arrangement.granularity for t in trials] == [
        Arrangement.model_validate({"granularity": rung}).granularity for rung in rungs
    ]
    assert len({trial.key for trial in trials}) == 3
    base = {"granularity": {"clusters": 4}}
    seeds = expand(demo(grid(arrangement__granularity__seed=[0, 1]), arrangement=base))
    assert seeds[0].key == trials[1].key != seeds[1].key


def test_keys_written_beside_method_random_are_refused(faults):
    paired = "sweep: {paired: [[{arrangement.method: random, arrangement.order: random}]]}\n"
    assert "method: random does not read order" in faults(paired)[0]
    folds = "sweep: {paired: [[{arrangement.method: ot, arrangement.options.folds: 2}]]}\n"
    assert "options.folds is not an option of method: ot" in faults(folds)[0]
    swept = "sweep: {parameters: {arrangement.order: {grid: [random]}}}\n"
    found = faults("arrangement: {method: random}\n" + swept)
    assert "method: random does not read order" in found[0]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("parameters: {training.global_bach: {grid: [1]}}", "did you mean global_batch?"),
        ("parameters: {trainin.clip: {grid: [1]}}", "did you mean training?"),
        ("parameters: {study: {grid: [a]}}", "study is not part of a trial: sweep seed, data"),
        ("parameters: {tracking.uri: {grid: [a]}}", "tracking.uri is not part of a trial"),
        ("parameters: {sweep.paired: {grid: [a]}}", "sweep.paired is not part of a trial"),
        ("parameters: {output: {grid: [a]}}", "output is not part of a trial"),
        ("parameters: {store: {grid: [a]}}", "store is not part of a trial"),
        ("parameters: {remote_store: {grid: [a]}}", "remote_store is not part of a trial"),
        ("parameters: {label: {grid: [a]}}", "label is not a key"),
        ("parameters: {seed.x: {grid: [1]}}", "seed is 0, which has no key x"),
        ("parameters: {data.pool.path: {grid: [1]}}", "data.pool.path is 1: give text, in quotes"),
        ("parameters: {seed: {grid: [.nan]}}", "seed is NaN: give a whole number"),
        ("parameters: {seed: {logunifrm: [1, 2]}}", "is not a key: did you mean loguniform?"),
        ("{parameters: {seed: {grid: [1]}}, paired: [[{seed: 2}]]}", "seed is set by two axes"),
        ("paired: [[{seed: 2}], [{seed: 3}]]", "seed is set by two axes: keep one"),
        (
            "parameters: {data.pool: {grid: [1]}, data.pool.path: {grid: [a]}}",
            "data.pool and data.pool.path are set by two axes",
        ),
        ("paired: [[{data.pool: 1, data.pool.path: a}]]", "data.pool.path are set together"),
        ("paired: [[{label: 1, seed: 1}]]", "label is 1: give text in quotes"),
        (f"parameters: {{training{'.a' * 400}: {{grid: [1]}}}}", "none has so many parts"),
        (
            f"parameters: {{seed: {{grid: {list(range(400))}}}, "
            f"training.workers: {{grid: {list(range(400))}}}}}",
            "160,000 trials are more than 100,000",
        ),
    ],
)
def test_a_faulty_sweep_is_refused_with_what_to_type(faults, sweep, said):
    sweep = sweep if sweep.startswith("{") else f"{{{sweep}}}"
    found = faults(f"seed: 0\nsweep: {sweep}\n")
    assert any(said in fault for fault in found), found


def test_faults_of_all_trials_are_found_and_equal_ones_told_once(faults):
    found = faults(
        "sweep: {parameters: {seed: {grid: [0, -1]}, arrangement.rows: {grid: [1, 2]}, "
        "training.clip: {grid: [1.0, 0]}}}\n"
    )
    assert found == [
        "sweep: in the trial with seed: 0, arrangement.rows: 1, training.clip: 1.0 (and in 7 more "
        "trials): arrangement: selection: all takes the whole pool: leave out rows, or "
        "choose selection: nearest, farthest, both_ends or random",
        "sweep: in the trial with seed: 0, arrangement.rows: 1, training.clip: 0 (and in 3 more "
        "trials): training.clip is 0: give a number above 0 or null",
        "sweep: in the trial with seed: -1, arrangement.rows: 1, training.clip: 1.0 (and in 3 more "
        "trials): seed is -1: give a whole number from 0 to 4294967295",
    ]


def test_faults_of_keys_and_of_values_are_told_together(faults):
    found = faults("sweep: {parameters: {output: {grid: [a]}, seed: {grid: [-1]}}}\n")
    assert ["output is not part" in found[0], "seed is -1" in found[1]] == [True, True]


@pytest.mark.scenario("names")
def test_hostile_labels_become_safe_and_distinct_names():
    paired = [{"label": label, "seed": seed} for seed, label in enumerate(HOSTILE)]
    names = [trial.name for trial in expand(demo({"paired": [paired]}))]
    assert len(names) == len(HOSTILE)
    assert_safe(names)


@pytest.mark.scenario("names")
def test_hostile_values_become_safe_and_distinct_names():
    assert_safe([trial.name for trial in expand(demo(grid(model__name=HOSTILE)))])


@pytest.mark.scenario("names")
@settings(deadline=None)
@given(
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True),
    names=st.lists(st.text(max_size=100), min_size=1, max_size=4, unique=True),
    labels=st.lists(st.text(max_size=100) | st.sampled_from(HOSTILE), min_size=1, max_size=4),
)
def test_trials_are_as_many_as_the_product_with_safe_names_and_a_stable_order(seeds, names, labels):
    sweep = grid(seed=seeds, model__name=names)
    sweep["paired"] = [
        [{"label": label, "training.workers": 1 + i} for i, label in enumerate(labels)]
    ]
    trials: list[Trial] = expand(demo(sweep))
    assert len(trials) == len(seeds) * len(names) * len(labels)
    assert [t.config.model.name for t in trials[:: len(labels)]] == names * len(seeds)
    assert_safe([trial.name for trial in trials])
    assert expand(demo(sweep)) == trials


def test_a_thousand_trials_expand_in_two_seconds():
    study = demo(
        grid(seed=list(range(100)), arrangement__turns=list(range(1, 11))), arrangement=TMA
    )
    started = time.monotonic()
    assert len(expand(study)) == 1000
    assert time.monotonic() - started < 2


def test_a_thousand_faulty_trials_are_told_in_two_seconds():
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        expand(demo(grid(training__workers=[-i for i in range(1000)])))
    assert len(caught.value.faults) == 1000
    assert time.monotonic() - started < 2
