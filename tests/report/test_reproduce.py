"""A figure of the paper is reproduced where the order and the losses say so, and only there."""

import pytest

from orchestrator.errors import DataError
from orchestrator.report.reproduce import check_figures

ARMS = ["nearest_first", "random"]
WIDE = {"nearest_first": [2.0, 2.6], "random": [2.6, 3.0]}  # about 2.47 and 2.67 at step 16


def check(study_of, shifts, *, arms=ARMS, failed=(), seeds=2, **figure):
    claim = {"question": "Why?", "arms": arms, "figures": [{"name": "Figure 3", **figure}]}
    (found,) = check_figures(study_of(shifts, claim=claim, seeds=seeds, failed=failed))
    return found


def test_order_and_losses_inside_their_bands_are_confirmed(study_of):
    found = check(study_of, {"nearest_first": -0.2}, step=16, bands=WIDE)
    assert found.ordering is True
    assert found.expected == found.found == ARMS
    assert {arm: inside for arm, (*_, inside) in found.ends.items()} == dict.fromkeys(ARMS, True)
    assert found.ends["random"][1:3] == (2.6, 3.0)
    assert "stand in the expected order at step 16" in found.sentence
    assert "2 of 2 losses lie inside" in found.sentence


def test_the_loss_is_that_of_the_set_and_step_as_the_mean_over_seeds(study_of):
    query = check(study_of, {}, step=16, bands=WIDE).ends["random"][0]
    # 2.0 + 0.1 * mean of 0..9 + exp(-1.6), less one answer that was cut away
    assert query == pytest.approx(2.45 + 0.2019 + 0.1 * 4.5 / 29 + 0.0, abs=0.02)


def test_sets_and_the_last_step_are_told_apart(study_of):
    last = check(study_of, {}, set="off_target", bands=WIDE)
    assert last.ends["random"][0] == pytest.approx(3.0 + 0.45 + 0.0907, abs=0.01)
    assert last.ends["random"][3] is False
    assert "0 of 2 losses" in last.sentence


def test_another_order_is_said_to_be_another(study_of):
    found = check(study_of, {"random": -0.2}, step=16, bands=WIDE)
    assert found.ordering is False
    assert found.found == ARMS[::-1]
    assert "do not stand in the expected order" in found.sentence


def test_a_step_that_was_not_evaluated_leaves_the_order_at_the_last_one(study_of):
    found = check(study_of, {"nearest_first": -0.2}, step=1090, bands=WIDE)
    assert found.ordering is True
    assert found.ends == {}
    assert "at step 24" in found.sentence
    assert "step 1,090 was not evaluated" in found.sentence


def test_an_arm_that_did_not_finish_leaves_the_order_open(study_of):
    found = check(study_of, {}, failed=("random-0", "random-1"), bands=WIDE)
    assert found.ordering is None
    assert found.found == ["nearest_first"]
    assert list(found.ends) == ["nearest_first"]


def test_a_study_of_which_nothing_finished_answers_nothing(study_of):
    failed = tuple(f"{arm}-0" for arm in ARMS)
    found = check(study_of, {}, failed=failed, seeds=1, bands=WIDE)
    assert (found.ordering, found.found, found.ends) == (None, [], {})
    assert "not answered" in found.sentence


def test_a_study_without_figures_is_refused(study_of):
    with pytest.raises(DataError, match="names no figure"):
        check_figures(study_of({}))
