import pytest

from orchestrator.trials import expand

CLAIM = """
sweep:
  parameters:
    arrangement.granularity: {grid: [instance, {clusters: 64}, task]}
    seed: {grid: [0, 1]}
claim:
  question: Does fine granularity beat coarse?
  arms: [instance, task]
  figures:
    - {name: "Granularity, step 1,090", step: 1090, bands: {instance: [0.92, 0.97], task: [1, 2]}}
"""


def test_a_claim_names_arms_of_the_study(study):
    loaded = study(CLAIM)
    assert set(loaded.claim.arms) < {trial.arm for trial in expand(loaded)}
    assert (loaded.claim.figures[0].set, loaded.claim.figures[0].step) == ("query", 1090)


def test_every_name_that_is_no_arm_is_a_fault_with_the_nearest_one(faults):
    text = CLAIM.replace("arms: [instance, task]", "arms: [instanc, seed]")
    found = faults(text.replace("task: [1, 2]", "taks: [1, 2], fine: [1, 2]"))
    assert found == [
        'claim.arms.0: "instanc" is no arm of this study: did you mean instance?',
        'claim.arms.1: "seed" is no arm of this study: the arms are instance, clusters-64, task',
        'claim.figures.0.bands: "taks" is no arm of this study: did you mean task?',
        'claim.figures.0.bands: "fine" is no arm of this study: '
        "the arms are instance, clusters-64, task",
    ]


def test_a_claim_of_which_no_name_is_an_arm_is_left_open_since_an_axis_renamed_them(study):
    """Its arms are then instance_learning_rate-1e-06 and so on: none is misspelt."""
    axis = "sweep:\n  parameters:\n    training.learning_rate: {grid: [0.000001, 0.000002]}"
    loaded = study(CLAIM.replace("sweep:\n  parameters:", axis))
    assert not {trial.arm for trial in expand(loaded)} & set(loaded.claim.arms)


@pytest.mark.parametrize("kind", ["early", "drops", "measures", "prediction"])
def test_a_claim_about_a_section_needs_no_arms_and_takes_none(study, faults, kind):
    claim = f"claim: {{question: 'Why?', kind: {kind}}}\n"
    assert study(claim).claim.arms == []
    (fault,) = faults(CLAIM.replace("  arms:", f"  kind: {kind}\n  arms:"))
    assert f"kind {kind} orders no arms: leave out arms and figures" in fault


SCHEDULES = """
sweep:
  parameters: {training.schedule: {grid: [cosine, constant]}}
  paired: [[{label: a, arrangement.order: nearest_first}, {label: b, arrangement.order: random}]]
claim:
  question: Does it hold at a constant rate?
  kind: schedule
  arms: [schedule-cosine_a, schedule-cosine_b, schedule-constant_a, schedule-constant_b]
"""


def test_a_claim_of_schedules_names_two_arms_or_more_of_each_one_of_them_constant(study, faults):
    assert {trial.arm for trial in expand(study(SCHEDULES))} == set(study(SCHEDULES).claim.arms)
    (fault,) = faults(SCHEDULES.replace(", schedule-constant_b", ""))
    assert "2 or more of each training.schedule" in fault
    (fault,) = faults(SCHEDULES.replace("constant", "linear"))
    assert "these are 2 of cosine, 2 of linear: name two or more of training.schedule: c" in fault


def test_a_figure_of_a_test_set_that_is_not_measured_is_a_fault(faults):
    (fault,) = faults(CLAIM.replace("step: 1090", "set: held_out"))
    assert "claim.figures.0.set is held_out, and data.held_out is not given" in fault


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("arms: [instance, task]", "arms: [instance]"), "give a list of 2 or more"),
        (("  arms: [instance, task]\n", ""), "arms: give a list of 2 or more"),
        (
            ("  arms:", "  kind: late\n  arms:"),
            "give order, baseline, schedule, early, drops, measures or prediction",
        ),
        (("arms: [instance, task]", "arms: [task, task]"), "arms names task twice"),
        (("[1, 2]", "[2, 1]"), "the band of task runs from 2.0 to 1.0"),
        (("[1, 2]", "1"), "give a list of 2, each a number"),
        (("step: 1090", "step: -1"), "give a whole number of 0 or more or null"),
        (("step: 1090", "set: pool"), "give query, held_out or off_target"),
        (("step: 1090", "stop: 1"), "stop is not a key: did you mean step?"),
    ],
)
def test_a_claim_that_cannot_be_checked_is_refused_with_its_line(faults, changed, said):
    found = faults(CLAIM.replace(*changed))
    assert any(said in fault and fault.startswith("study.yaml line") for fault in found), found


BASELINE = CLAIM[: CLAIM.index("  figures")].replace("  arms:", "  kind: baseline\n  arms:")


def test_a_claim_of_a_baseline_names_the_set_that_decides_which_every_trial_measures(study, faults):
    assert study(BASELINE).claim.set == "query"
    (fault,) = faults(BASELINE + "  set: held_out\n")
    assert "claim.set is held_out, and data.held_out is not given in every trial" in fault
    (fault,) = faults(BASELINE.replace("[instance, task]", "[instance]"))
    assert "give a list of 2 or more, the baseline first" in fault
    (fault,) = faults(CLAIM + "  set: held_out\n")
    assert "kind order has no set of its own: leave out set" in fault
