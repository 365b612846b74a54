"""What a gang that is no more has reserved of a Ray that runs nothing else."""

import pytest
import ray
from ray.util import placement_group, placement_group_table

from orchestrator.tune.trainable import HEAD, remove_leftovers

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.scenario("kill-rank")
def test_what_a_gang_left_reserved_is_given_back_and_what_its_trial_holds_stays():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        trial = placement_group([HEAD])
        gang = placement_group([{"CPU": 1.0}] * 2)
        ray.get([trial.ready(), gang.ready()])
        remove_leftovers()
        states = {number: group["state"] for number, group in placement_group_table().items()}
        assert states == {trial.id.hex(): "CREATED", gang.id.hex(): "REMOVED"}
    finally:
        ray.shutdown()
