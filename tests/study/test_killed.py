"""A sweep that SIGKILL ended, anywhere, and that was started again."""

import pytest

from tests.benchmarks.killed import compare

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_sweep_killed_in_a_trial_ends_as_one_left_alone(tmp_path):
    # `python tests/benchmarks/killed.py` kills ten times. This seed draws 0.48 of the study.
    assert compare(tmp_path, trials=2, steps=40, kills=1, seed=17) == []
