"""What ended a trial is told, not what was met while its process group was left."""

import subprocess
import sys

from tests.waiting import PATIENCE

LEFT = """
import os, torch.distributed as dist
os.environ["LOCAL_RANK"] = "0"
from orchestrator.training.device import init_distributed, left_afterwards
for _ in range(2):
    try:
        with left_afterwards():
            init_distributed(gpu=False)
            {spoil}
            raise KeyError("the cause")
    except KeyError as error:
        print(error, dist.is_initialized())
"""


def ended(spoil):
    # A process of its own, where no earlier trial has built an engine.
    code = LEFT.format(spoil=spoil)
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.stdout.splitlines()


def test_a_trial_that_ends_before_its_engine_tells_its_own_error_and_leaves_the_group():
    assert ended("pass") == ["'the cause' False"] * 2


def test_an_error_of_leaving_never_takes_the_place_of_the_cause():
    spoil = "dist.destroy_process_group = None"
    assert ended(spoil) == ["'the cause' True"] * 2
