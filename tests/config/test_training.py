"""The `training` section: DeepSpeed's own keys add to the fields, and never contradict them."""

import pytest
from pydantic import ValidationError

from orchestrator.config.deepspeed import DECIDED_ELSEWHERE
from orchestrator.config.training import Training


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("key", DECIDED_ELSEWHERE)
def test_what_a_field_decides_is_refused_with_the_field_to_set(key):
    with pytest.raises(ValidationError) as caught:
        Training.model_validate({"deepspeed": nested(key, 1)})
    assert f"leave {key} out: {DECIDED_ELSEWHERE[key]}" in str(caught.value)


@pytest.mark.parametrize("monitor", ["comet", "wandb", "tensorboard", "csv_monitor"])
def test_what_a_monitor_of_deepspeed_is_given_is_refused_and_not_repeated(faults, monitor):
    text = f"training: {{deepspeed: {{{monitor}: {{api_key: hunter2}}}}}}\n"
    (found,) = faults(text)
    assert f"leave {monitor} out: curves go to MLflow" in found
    assert "hunter2" not in found


def test_other_keys_are_kept_as_they_are():
    extra = {"zero_optimization": {"reduce_bucket_size": 1000}, "wall_clock_breakdown": True}
    assert Training(deepspeed=extra).deepspeed == extra


def test_a_section_that_is_no_mapping_is_refused():
    with pytest.raises(ValidationError, match="zero_optimization is 2: give a mapping"):
        Training.model_validate({"deepspeed": {"zero_optimization": 2}})


@pytest.mark.parametrize(("offload", "least"), [("optimizer", 1), ("parameters", 3)])
def test_offload_needs_a_stage_that_shares_out_what_is_offloaded(offload, least):
    assert Training(offload=offload, zero_stage=least).offload == offload
    with pytest.raises(ValidationError, match=f"needs zero_stage {least} or more"):
        Training(offload=offload, zero_stage=least - 1)


def test_8_bit_states_cannot_be_offloaded():
    with pytest.raises(ValidationError, match=r"set training\.offload to none"):
        Training(offload="optimizer", zero_stage=2, optimizer="adamw_8bit")


def test_a_study_file_names_the_faulty_key_and_its_line(faults):
    text = "training: {deepspeed: {gradient_clipping: 2.0}}\n"
    found = faults(text)
    assert found == [
        "study.yaml line 5: training.deepspeed: leave gradient_clipping out: set training.clip"
    ]
