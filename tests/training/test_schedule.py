"""The learning rate starts at the peak and ends at its share."""

import pytest

from orchestrator.training.schedule import learning_rate


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_rate_falls_from_the_peak_to_the_given_share(kind):
    rates = [learning_rate(step, 11, 2e-5, kind, 0.1) for step in range(1, 12)]
    assert rates[0] == pytest.approx(2e-5)
    assert rates[-1] == pytest.approx(2e-6)
    assert all(a > b for a, b in zip(rates, rates[1:], strict=False))
    assert rates[5] == pytest.approx(2e-5 * 0.55)


def test_a_constant_rate_stays_and_a_single_step_gets_the_peak():
    assert {learning_rate(s, 5, 3e-4, "constant", 0.1) for s in range(1, 6)} == {3e-4}
    assert learning_rate(1, 1, 1e-3, "cosine", 0.1) == pytest.approx(1e-3)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="cosine, linear or constant"):
        learning_rate(1, 2, 1.0, "step", 0.1)
