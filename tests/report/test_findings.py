"""A claim that orders no arms is answered by its section, whatever the data say."""

import re

import numpy as np
import pytest

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.core.statistics.drops import Coincidence
from orchestrator.report import findings, sudden
from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.measures import Correlation
from tests.report.curves import long_smooth, planted, trial_of

STEPS, TASKS = 6, 8  # of `trial_of`


def answer(kind, *trials):
    return answer_of(Claim(question="Is it so?", kind=kind), group_arms([*trials]))


def falling(by_first, seed=0):
    """Losses of 3 that fall to 2, a part of it by the first evaluation, with tasks that differ."""
    noise = 0.02 * np.random.default_rng(seed).standard_normal((STEPS, TASKS))
    shares = np.array([0, by_first, by_first, by_first, 1, 1])
    return 3 - shares[:, None] + np.linspace(0, 1, TASKS) + noise


@pytest.mark.parametrize(("by_first", "head"), [(0.8, "Yes"), (0.2, "Not clearly")])
def test_early_is_more_than_half_of_the_drop_at_a_tenth_of_training(by_first, head):
    trials = [trial_of(falling(by_first, seed), seed=seed) for seed in (0, 1)]
    result = answer("early", *trials)
    assert result.question == "Is it so?"
    assert result.sentence.startswith(f"{head}: a made ")
    share, low, high = (
        int(percent) / 100
        for percent in re.findall(r"made (\d+)%.*interval (\d+)% to (\d+)%", result.sentence)[0]
    )
    assert low <= share <= high
    assert share == pytest.approx(by_first, abs=0.03)
    assert "by step 10 of 50, 90% by step" in result.sentence
    assert any("2 seeds on 8 tasks" in caveat for caveat in result.caveats)


def test_an_arm_whose_loss_does_not_fall_is_not_early():
    result = answer("early", trial_of(6 - falling(0.8)), trial_of(falling(0.8), name="b"))
    assert result.sentence.startswith("In part, in 1 of 2 arms: the loss of a did not clearly fall")
    assert result.details[0].startswith("Also b made ")


def test_before_a_finding_the_best_of_several_arms_is_named():
    result = answer("early", trial_of(falling(0.8)), trial_of(falling(0.8) + 1, name="b"))
    assert result.headline.startswith("a was best, ")
    assert result.contrast is not None
    assert answer("early", trial_of(falling(0.8))).contrast is None


@pytest.mark.parametrize(("sign", "head"), [(-1, "Yes"), (1, "Not clearly")])
def test_measures_say_yes_where_near_tasks_drop_more_and_not_where_far_ones_do(sign, head):
    near = -np.linspace(0.1, 0.9, TASKS) - 0.01 * np.arange(STEPS - 1)[:, None]
    losses = np.vstack([np.full(TASKS, 3.0), 3 + sign * -near])
    result = answer("measures", trial_of(losses, near))
    assert result.sentence.startswith(f"{head}: in a the rank correlation of cosine_min")
    assert f"{TASKS} tasks); of the others" in result.sentence


def test_a_relation_of_the_measures_within_chance_is_not_clear():
    rng = np.random.default_rng(3)
    near = np.tile(-rng.uniform(0.1, 0.9, TASKS), (STEPS - 1, 1))
    losses = np.vstack([np.full(TASKS, 3.0), np.tile(rng.uniform(1, 2, TASKS), (STEPS - 1, 1))])
    assert answer("measures", trial_of(losses, near)).sentence.startswith("Not clearly: ")


@pytest.mark.parametrize(("match", "head"), [(True, "Yes"), (False, "Not clearly")])
def test_drops_must_come_with_their_nearest_rows_more_often_than_by_chance(match, head):
    result = answer("drops", trial_of(*planted(match), method="cluster"))
    assert result.sentence.startswith(f"{head}: in a-0 {8 if match else 0} of 8 sudden drops, ")
    assert "against 2.0 by chance" in result.sentence


@pytest.mark.parametrize(("p", "head"), [(0.0496, "Yes"), (0.0504, "Not clearly")])
def test_what_rounds_to_the_threshold_is_judged_by_the_number_and_printed_rounded(
    p, head, monkeypatch
):
    chance = Coincidence(matched=5, drops=8, by_chance=2.04, p_value=p)
    monkeypatch.setattr(sudden, "coincidence", lambda fell, near: chance)
    trial = trial_of(*planted(match=True), method="cluster")
    assert answer("drops", trial).sentence == (
        f"{head}: in a-0 5 of 8 sudden drops, 62% (95% interval 31% to 86%), came with the task’s "
        "nearest rows, against 2.0 by chance (p = 0.050)."
    )
    (row,) = sudden.match_table(sudden.sudden_drops([trial])).rows
    assert [cell.text for cell in row] == ["a-0", "8", "8", "5", "2.0", "0.050"]


@pytest.mark.parametrize(("other", "head"), [(-0.7998, "Yes"), (-0.8002, "Not clearly")])
def test_measures_that_print_the_same_are_ranked_by_their_numbers(other, head, monkeypatch):
    row = Correlation("a", 40, {"cosine_min": -0.8, "cosine_avg": other})
    monkeypatch.setattr(findings, "correlations", lambda arms: [row])
    sentence = answer("measures", trial_of(falling(0.8))).sentence
    assert sentence.startswith(f"{head}: in a the rank correlation of cosine_min")
    assert "loss is −0.800 (95%" in sentence
    assert sentence.endswith("of the others cosine_avg goes furthest with it, −0.800.")


def test_only_task_blocks_answer_for_drops_where_there_are_any():
    blocks = trial_of(*planted(match=True), name="cluster", method="cluster")
    other = trial_of(*planted(match=False), name="random", method="random")
    result = answer("drops", other, blocks)
    assert result.sentence.startswith("Yes: in cluster-0 ")


def test_smooth_task_blocks_have_no_drop_and_short_ones_none_that_could_be_told():
    smooth = trial_of(long_smooth(), method="cluster")
    assert answer("drops", smooth).sentence == "No: no task’s loss dropped suddenly."
    short = trial_of(long_smooth()[:6], method="cluster")
    assert answer("drops", short).sentence == (
        "This study does not say: sudden drops: too few evaluations."
    )


def related(rng, offset):
    """Each task drops by its distance and by an offset of its own, which no distance knows."""
    near = -np.sort(rng.uniform(0.1, 0.9, (STEPS - 1, TASKS)), axis=0)
    return np.vstack([np.full(TASKS, 5.0), 5 + 3 * near - offset]), near


@pytest.mark.parametrize(("planted", "head"), [(True, "Yes"), (False, "Not clearly")])
def test_prediction_is_judged_on_all_that_was_left_out(planted, head):
    rng = np.random.default_rng(0)
    trials = []
    for name in "abc":
        losses, near = related(rng, 0)
        other = -np.sort(rng.uniform(0.1, 0.9, near.shape), axis=0)
        trials.append(trial_of(losses, near if planted else other, name=name))
    result = answer("prediction", *trials)
    assert result.sentence.startswith(f"{head}, in {4 if planted else 0} of 4 predictions: leaving")
    assert "a fifth of the tasks at a time" in result.sentence
    assert sum(detail.startswith("Also leaving out ") for detail in result.details) == 3


@pytest.mark.parametrize("kind", ["early", "drops", "measures", "prediction"])
def test_where_nothing_was_measured_the_question_stays_open(kind):
    few = FEWEST_TASKS - 1
    trial = trial_of(falling(0.8)[:2, :few])
    trial.tables.clear()
    result = answer(kind, trial)
    assert result.sentence.startswith("This study does not say: ")
    assert result.contrast is None
