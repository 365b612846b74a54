"""The `evaluation` section: which steps a schedule names, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.evaluation import scheduled_steps

STEPS = st.integers(1, 5000)


@given(
    every=st.integers(1, 600) | st.lists(st.integers(0, 9000), min_size=1) | st.just("dense_start"),
    steps=STEPS,
)
def test_every_schedule_rises_from_step_0_to_the_last_step(every, steps):
    found = scheduled_steps(every, steps)
    assert found[0] == 0
    assert found[-1] == steps
    assert found == sorted(set(found))


@given(every=st.integers(1, 600), steps=STEPS)
def test_a_number_is_the_distance_between_steps(every, steps):
    found = scheduled_steps(every, steps)
    assert {b - a for a, b in zip(found[:-1], found[1:-1], strict=False)} <= {every}
    assert 0 < found[-1] - found[-2] <= every


@given(every=st.lists(st.integers(0, 9000), min_size=1), steps=STEPS)
def test_of_a_list_the_steps_beyond_the_end_are_left_out(every, steps):
    assert set(scheduled_steps(every, steps)) == {s for s in every if s <= steps} | {0, steps}


@given(steps=STEPS)
def test_a_dense_start_has_the_same_steps_in_a_longer_trial(steps):
    assert scheduled_steps("dense_start", 300) == [0, 1, 2, 5, 10, 20, 50, 100, 200, 300]
    longer = scheduled_steps("dense_start", 10 * steps)
    assert set(scheduled_steps("dense_start", steps)) - {steps} <= set(longer)
    assert {10 * step for step in scheduled_steps("dense_start", steps)} <= set(longer)


@pytest.mark.parametrize("every", ["5", "[0, 3, 40]", "dense_start"])
def test_a_study_may_give_each_kind_of_schedule(study, every):
    loaded = study(f"evaluation: {{every: {every}, generate: {{every: {every}}}}}\n")
    assert loaded.evaluation.every == loaded.evaluation.generate.every
    assert str(loaded.evaluation.every).replace("'", "") == every


@pytest.mark.parametrize("every", ["0", "[]", "[-1]", "sparse", "true"])
def test_what_names_no_steps_is_refused_with_its_key(faults, every):
    assert all(
        "evaluation.every is" in fault for fault in faults(f"evaluation: {{every: {every}}}\n")
    )


@pytest.mark.parametrize("sample", ["1", "300", "0.25", "null"])
def test_a_sample_is_a_count_or_a_share(study, sample):
    assert str(study(f"evaluation: {{sample: {sample}}}\n").evaluation.sample) == sample.replace(
        "null", "None"
    )


@pytest.mark.parametrize("sample", ["0", "0.0", "1.0", "1.5", "-2", "half", "true"])
def test_a_sample_that_is_neither_is_refused_with_what_to_type(faults, sample):
    (fault,) = faults(f"evaluation: {{sample: {sample}}}\n")
    assert fault.endswith("give a whole number above 0, a number above 0 and below 1 or null")


def test_the_metric_reward_and_its_model_are_given_together(faults):
    (fault,) = faults("evaluation: {generate: {every: 5, metrics: [reward]}}\n")
    assert "evaluation.generate: the metric reward needs reward_model" in fault
    (fault,) = faults("evaluation: {generate: {every: 5, reward_model: some/model}}\n")
    assert "reward_model is not read" in fault
