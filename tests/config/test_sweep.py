"""Distributions, constraints and schedulers of a sweep, and what arms are called."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config import dump_yaml, load_study
from orchestrator.config.axis import Axis
from orchestrator.config.schema import Study
from orchestrator.trials import expand, expansion
from tests.trials.studies import DATA, assert_safe, demo, grid

RATE = "training.learning_rate"


def drawn(parameters: dict, samples: int = 1, **sections) -> Study:
    return demo({"parameters": parameters, "samples": samples}, **sections)


def rates(study: Study) -> list[float]:
    return [trial.config.training.learning_rate for trial in expand(study)]


@given(st.data())
def test_every_draw_is_of_its_distribution_and_short(data):
    low = data.draw(st.floats(1e-6, 1e3))
    high = low * data.draw(st.floats(1.01, 1e3))
    sample = data.draw(st.integers(0, 1000))
    for kind in ("uniform", "loguniform"):
        (value,) = drawn({RATE: {kind: [low, high]}}).sweep.values(RATE, sample)
        assert low <= value <= high
        assert value in (low, high) or value == float(f"{value:.6g}")
    first = data.draw(st.integers(-50, 50))
    end = first + data.draw(st.integers(1, 9))
    (value,) = drawn({RATE: {"randint": [first, end]}}).sweep.values(RATE, sample)
    assert type(value) is int
    assert first <= value < end


def test_draws_spread_over_their_whole_range():
    seen = {
        kind: [drawn({"x": {kind: values}}).sweep.values("x", i)[0] for i in range(300)]
        for kind, values in {
            "uniform": [0, 100],
            "loguniform": [1, 10_000],
            "randint": [0, 4],
            "quniform": [0.1, 0.4, 0.1],
            "choice": ["a", "b"],
        }.items()
    }
    assert 40 < sum(seen["uniform"]) / 300 < 60
    assert 1.8 < sum(map(math.log10, seen["loguniform"])) / 300 < 2.2
    assert set(seen["randint"]) == {0, 1, 2, 3}
    assert set(seen["quniform"]) == {0.1, 0.2, 0.3, 0.4}
    assert set(seen["choice"]) == {"a", "b"}


def test_a_search_chooses_every_value_and_nothing_that_a_trial_runs_on(faults):
    axis = "  parameters: {training.learning_rate: {loguniform: [1.0e-6, 1.0e-4]}}\n"
    head = "sweep:\n  search: {type: optuna}\n"
    for axes, named in {
        "  parameters: {seed: {grid: [0, 1]}}\n": "the grid of seed",
        axis + "  paired: [[{seed: 0}]]\n": "paired",
        "": "no axis",
        "  parameters: {training.workers: {choice: [1, 2]}}\n": "training.workers",
    }.items():
        (fault,) = faults(head + axes)
        assert named in fault
    (fault,) = faults(head.replace("optuna", "optuna, metric: held_out_loss") + axis)
    assert "data.held_out is not given" in fault
    claim = "claim: {question: Which is best, arms: [a, b]}\n"
    (fault,) = faults(head + axis + claim)
    assert "no arm of claim.arms is sure to be run" in fault


def test_models_can_be_registered_only_where_every_trial_keeps_its_own(faults):
    sweep = "sweep: {parameters: {training.save_model: {grid: [true, false]}}}\n"
    (fault,) = faults(sweep + "tracking: {register_model: arranged}\n")
    assert "not every trial keeps its model: set training.save_model to true" in fault


def test_whole_steps_give_whole_numbers_so_that_counts_can_be_swept():
    study = drawn({"training.global_batch": {"quniform": [4, 16, 4]}}, samples=20)
    assert {trial.config.training.global_batch for trial in expand(study)} == {4, 8, 12, 16}


def test_samples_repeat_the_product_each_with_a_draw_that_all_its_combinations_share():
    axes = {RATE: {"loguniform": [1e-6, 1e-4]}, "seed": {"grid": [0, 1]}}
    trials = expand(drawn(axes, samples=3))
    assert [trial.config.seed for trial in trials] == [0, 1] * 3
    pairs = rates(drawn(axes, samples=3))
    assert pairs[::2] == pairs[1::2]
    assert len(set(pairs)) == 3


def test_the_same_file_gives_the_same_draws_and_another_axis_sample_or_grid_value_keeps_them():
    rate = {RATE: {"uniform": [0.1, 0.9]}}
    first = rates(drawn(rate, samples=2))
    assert rates(drawn(rate, samples=2)) == first
    assert rates(drawn(rate, samples=4))[:2] == first
    more = {"seed": {"grid": [0, 1, 2]}, "training.clip": {"uniform": [0.1, 0.9]}, **rate}
    assert rates(drawn(more, samples=2))[::3] == first
    other = demo({"parameters": rate, "samples": 2, "seed": 1})
    assert not set(rates(other)) & set(first)


def test_two_distributions_over_one_range_are_drawn_apart():
    axes = {key: {"uniform": [0.1, 0.9]} for key in (RATE, "training.clip")}
    (trial,) = expand(drawn(axes))
    assert trial.config.training.learning_rate != trial.config.training.clip


def test_equal_draws_are_one_trial():
    trials = expand(drawn({"seed": {"choice": [7]}}, samples=5))
    assert [(trial.config.seed, trial.merged) for trial in trials] == [(7, 4)]


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("{}", "and here is none"),
        ("{grid: [1], uniform: [1, 2]}", "and here is grid and uniform"),
        ("{uniform: [2, 1]}", "uniform runs from 2.0 to 1.0: give the smaller bound first"),
        ("{uniform: [1]}", "uniform is [1]: give a list of 2, each a number"),
        ("{loguniform: [0, 1]}", "loguniform starts at 0.0: give bounds above 0, or use uniform"),
        ("{randint: [3, 3]}", "randint runs from 3 to 3"),
        ("{randint: [0, 1.5]}", "give a whole number"),
        ("{quniform: [0, 1, 0]}", "quniform has the step 0.0: give one above 0 and up to 1"),
        ("{quniform: [0, 1, 2]}", "quniform has the step 2.0"),
        ("{quniform: [0, 1]}", "give a list of 3, each a number"),
        ("{choice: []}", "give a list of 1 or more"),
        ("{unifrom: [0, 1]}", "did you mean uniform?"),
    ],
)
def test_a_faulty_axis_is_refused_with_what_to_type(faults, axis, said):
    found = faults(f"sweep: {{parameters: {{training.clip: {axis}}}}}\n")
    assert any(said in fault for fault in found), found


def test_samples_without_a_distribution_point_to_seeds(faults):
    (fault,) = faults("sweep: {samples: 2, parameters: {training.clip: {grid: [1.0]}}}\n")
    assert "parameters: {seed: {grid: [0, 1]}}" in fault


def test_an_override_may_give_any_kind_of_axis(study):
    loaded = study("", f"sweep.parameters.{RATE}.loguniform=[1e-6, 1e-4]", "sweep.samples=2")
    assert loaded.sweep.parameters == {RATE: Axis(loguniform=[1e-6, 1e-4])}


SWEPT = """
arrangement: {method: tma, selection: nearest, turns: 2}
sweep:
  parameters:
    training.learning_rate: {loguniform: [1.0e-6, 1.0e-4]}
    training.global_batch: {quniform: [4, 16, 4]}
    seed: {grid: [0, 1]}
  samples: 2
  constraints:
    - {seed: [1], training.global_batch: {above: 1000}}
    - {model.name: x, arrangement.rows: {set: true}}
  scheduler: {type: median, grace_steps: 5}
claim:
  question: Is it so?
  arms: [ARM, OTHER]
"""


def test_a_dumped_sweep_loads_back_as_an_equal_one_with_the_same_trials(study, tmp_path):
    without_claim = study(SWEPT[: SWEPT.index("claim:")])
    arms = list(dict.fromkeys(trial.arm for trial in expand(without_claim)))
    loaded = study(SWEPT.replace("ARM", arms[0]).replace("OTHER", arms[1]))
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_yaml(loaded), encoding="utf-8")
    assert load_study(path) == loaded
    assert expansion(load_study(path)) == expansion(loaded)


def constrained(*constraints: dict, axes: dict, **sections):
    sweep = grid(**axes) | {"constraints": list(constraints)}
    return expansion(demo(sweep, **sections))


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        (2, [1, 3]),
        ([1, 3], [2]),
        ({"above": 1}, [1]),
        ({"below": 3}, [3]),
        ({"above": 1, "below": 3}, [1, 3]),
        (True, [1, 2, 3]),
    ],
)
def test_a_constraint_drops_what_meets_its_condition_and_counts_it(condition, left):
    found = constrained({"training.workers": condition}, axes={"training__workers": [1, 2, 3]})
    assert [trial.config.training.workers for trial in found.trials] == left
    assert list(found.dropped.values()) == [3 - len(left)]


def test_a_constraint_drops_only_where_all_its_conditions_hold():
    axes = {"training__workers": [1, 2], "seed": [0, 1]}
    found = constrained({"training.workers": 2, "seed": 0}, {"seed": 1}, axes=axes)
    assert [(t.config.training.workers, t.config.seed) for t in found.trials] == [(1, 0)]
    assert found.dropped == {"{training.workers: 2, seed: 0}": 1, "{seed: 1}": 2}


def test_a_constraint_sees_defaults_nested_values_and_null():
    axes = {"arrangement__granularity": ["task", {"clusters": 4}, {"clusters": 400}]}
    above = {"arrangement.granularity.clusters": {"above": 100}, "arrangement.method": "tma"}
    assert len(constrained(above, axes=axes).trials) == 2
    unset = {"arrangement.granularity.clusters": {"set": False}}
    assert len(constrained(unset, axes=axes).trials) == 2
    clip = {"training__clip": [None, 1.0]}
    assert len(constrained({"training.clip": {"set": True}}, axes=clip).trials) == 1
    assert len(constrained({"training.clip": None}, axes=clip).trials) == 1


def test_turn_windows_of_a_random_order_are_dropped_with_a_count_instead_of_merged():
    axes = {"arrangement__method": ["tma", "random"], "arrangement__turn_window": [[0, 5], [5, 10]]}
    base = {"selection": "nearest", "turn_window": [0, 1]}
    windows = {"arrangement.method": "random", "arrangement.turn_window": {"set": True}}
    merged = constrained(axes=axes, arrangement=base)
    assert [trial.merged for trial in merged.trials] == [0, 0, 1]
    found = constrained(windows, axes=axes, arrangement=base)
    assert [trial.config.arrangement.method for trial in found.trials] == ["tma", "tma"]
    assert list(found.dropped.values()) == [2]
    assert "2 dropped by {arrangement.method: " in found.left_out


def test_a_constraint_drops_what_validation_would_refuse_and_nothing_else_that_it_refuses(faults):
    axes = {"arrangement__selection": ["all", "nearest"], "arrangement__rows": [None, 5]}
    whole = {"arrangement.selection": "all", "arrangement.rows": {"set": True}}
    endless = {"arrangement.selection": "nearest", "arrangement.rows": None}
    kept = constrained(whole, endless, axes=axes)
    seen = [(t.config.arrangement.selection, t.config.arrangement.rows) for t in kept.trials]
    assert seen == [("all", None), ("nearest", 5)]
    # The selection of the base is a default, which validation refuses together with the rows.
    assert len(constrained(whole, axes={"arrangement__rows": [None, 5]}).trials) == 1
    text = "sweep: {constraints: [{seed: 1}], parameters: {seed: {grid: [-1, 1, 2]}}}\n"
    assert ["seed is -1" in fault for fault in faults(text)] == [True]


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ("{training.worker: 1}", "training.worker is not a key: did you mean workers?"),
        ("{training.workers.x: 1}", "training.workers.x is not a key: no keys are read here"),
        ("{data.pool.pat: a}", "data.pool.pat is not a key: did you mean path?"),
        ("{study: demo}", "study is not a key: the keys here are seed, data"),
        ("{seed: {abov: 1}}", "abov is not a key: did you mean above?"),
        ("{seed: {}}", "give above, below or set"),
        ("{}", "sweep.constraints.0 is {}"),
        ("{seed: [0, 1]}", "sweep.constraints drop all 2 combinations: loosen {seed: [0, 1]}"),
    ],
)
def test_a_faulty_constraint_is_refused_with_what_to_type(faults, constraint, said):
    sweep = f"sweep: {{constraints: [{constraint}], parameters: {{seed: {{grid: [0, 1]}}}}}}\n"
    found = faults(sweep)
    assert any(said in fault for fault in found), found


def test_keys_of_any_reader_and_of_free_options_may_be_constrained():
    keys = ["data.pool.fields.prompt", "arrangement.options.folds", "model.adapter.r", "data.query"]
    found = constrained(*({key: 77} for key in keys), axes={"seed": [0]})
    assert list(found.dropped.values()) == [0] * len(keys)


TEN_STEPS = "arrangement: {selection: nearest, rows: 40}\ntraining: {global_batch: 4}\n"


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ("{grace_steps: 5}", "type: fifo does not read grace_steps: leave it out, or set type"),
        ("{type: median, reduction_factor: 3}", "does not read reduction_factor"),
        ("{type: asha, reduction_factor: 1}", "give a number of 2 or more"),
        ("{type: asha, grace_steps: 0}", "give a whole number above 0"),
        ("{type: hyperband}", "give fifo, asha or median"),
        ("{type: asha, metric: loss}", "give query_loss, held_out_loss or off_target_loss"),
        ("{type: asha, metric: held_out_loss, grace_steps: 5}", "data.held_out is not given"),
        ("{type: asha}", "grace_steps is 100, and no trial is evaluated from that step on before"),
        ("{type: median, grace_steps: 9}", "set grace_steps to 8 or less, or evaluate more often"),
    ],
)
def test_a_scheduler_that_cannot_decide_is_refused_with_what_to_type(faults, scheduler, said):
    found = faults(f"{TEN_STEPS}evaluation: {{every: 4}}\nsweep: {{scheduler: {scheduler}}}\n")
    assert any(said in fault for fault in found), found


def test_a_scheduler_passes_that_decides_in_one_trial_or_whose_steps_are_not_known_yet(study):
    asha = "evaluation: {every: 4}\nsweep: {scheduler: {type: asha, grace_steps: 8}"
    assert expand(study(TEN_STEPS + asha + "}\n"))
    rows = ", parameters: {arrangement.rows: {grid: [8, 40]}}}\n"
    assert len(expand(study(TEN_STEPS + asha + rows))) == 2
    turns = "arrangement: {selection: nearest, turns: 3}\n"
    assert expand(study(turns + asha + "}\n"))


def arms(sweep: dict, **sections) -> list[str]:
    return [trial.arm for trial in expand(demo(sweep, **sections))]


def test_trials_that_differ_in_seeds_alone_are_one_arm():
    base = {"pool": {**DATA["pool"], "max_per_task": 3}, "query": DATA["query"]}
    sweep = grid(seed=[0, 1], data__pool__seed=[3, 4], training__workers=[1, 2])
    assert arms(sweep, data=base) == ["1", "2"] * 4


def test_an_arm_is_its_labels_otherwise_its_values_and_of_a_single_key_the_value_alone():
    rungs = grid(arrangement__granularity=["instance", {"clusters": 64}, "task"], seed=[0, 1])
    assert list(dict.fromkeys(arms(rungs))) == ["instance", "clusters-64", "task"]
    two = grid(training__workers=[1, 2], training__clip=[None])
    assert arms(two) == ["workers-1_clip-null", "workers-2_clip-null"]
    labels = [{"label": "Nearest First!"}, {"label": "far", "training.workers": 2}]
    assert arms({"paired": [labels]}) == ["nearest-first", "far"]
    seeds = [{"label": f"run {seed}", "seed": seed} for seed in (0, 1)]
    assert arms({"paired": [labels, seeds]}) == ["nearest-first", "nearest-first", "far", "far"]


def test_a_study_without_axes_or_with_seeds_alone_has_the_name_of_its_method():
    assert arms({}) == ["tma"]
    assert arms(grid(seed=[0, 1]), arrangement={"method": "random"}) == ["random", "random"]


def test_different_settings_are_different_arms_whatever_their_labels():
    paired = [{"label": "x", "training.workers": workers} for workers in (1, 2)]
    assert len(set(arms({"paired": [paired, [{"seed": 0}, {"seed": 1}]]}))) == 2


@settings(deadline=None, max_examples=30)
@given(
    labels=st.lists(st.text(max_size=90), min_size=1, max_size=4),
    clips=st.lists(st.floats(0.1, 9), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
)
def test_arms_are_as_many_as_the_settings_besides_the_seed_and_their_names_are_safe(
    labels, clips, seeds
):
    sweep = grid(training__clip=clips, seed=seeds)
    sweep["paired"] = [[{"label": s, "training.workers": i + 1} for i, s in enumerate(labels)]]
    found = arms(sweep)
    assert len(set(found)) == len(labels) * len(clips)
    assert all(found.count(arm) == len(seeds) for arm in found)
    assert_safe([f"{arm[:70]}-{number:08x}" for number, arm in enumerate(dict.fromkeys(found))])


def test_a_list_in_a_constraint_is_one_value_or_several():
    windows = grid(arrangement__turn_window=[[0, 5], [5, 10], [10, 15]])
    base = {"selection": "nearest", "turn_window": [0, 1]}
    for constraint, left in (([0, 5], 2), ([[0, 5], [5, 10]], 1), ([0, 99], 3)):
        sweep = windows | {"constraints": [{"arrangement.turn_window": constraint}]}
        assert len(expand(demo(sweep, arrangement=base))) == left


def test_a_label_names_nothing_that_the_method_does_not_read():
    windows = [{"label": "0-5", "arrangement.turn_window": [0, 5]}]
    sweep = grid(arrangement__method=["tma", "random"]) | {"paired": [windows]}
    tma, random = expand(demo(sweep, arrangement={"selection": "nearest", "turn_window": [0, 1]}))
    assert "0-5" in tma.name
    assert "0-5" not in random.name
    assert "0-5" not in random.arm
