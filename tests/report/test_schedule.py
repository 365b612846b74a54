"""Whether an order's gain survives a constant rate: the answer, and what it is made of."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.comparison import compare_arms
from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.read import read_study
from orchestrator.training.schedule import learning_rate
from tests.report.curves import STEPS, smooth, trial_of

ARMS = ["nft_cosine", "rt_cosine", "fft_cosine", "nft_constant", "rt_constant", "fft_constant"]
CLAIM = Claim(question="Also at a constant rate?", kind="schedule", arms=ARMS)


def trials_of(gaps, seeds=3, sets=("query", "held_out")):
    """Three arms under each schedule; from step 10 on the last lies higher than the first by a gap,
    and the second half as much."""
    trials = []
    for number, name in enumerate(ARMS):
        schedule = name.split("_")[1]
        for seed in range(seeds):
            noise = 0.02 * np.random.default_rng([number, seed]).standard_normal(smooth().shape)
            gap = gaps[schedule] * (number % 3) / 2 * (STEPS > 0)[:, None]
            trial = trial_of(smooth() + gap + noise, name=name, seed=seed, sets=sets)
            trial.config["training"] = {"schedule": schedule}
            trial.summary["set_sha256"] = "ab" * 32
            rates = [learning_rate(step, 51, 1e-5, schedule, 0.1) for step in range(1, 52)]
            trial.tables["train_log"] = pa.table({"step": np.arange(1, 52), "lr": rates})
            trials.append(trial)
    return trials


def answer(gaps, **options):
    return answer_of(CLAIM, group_arms(trials_of(gaps, **options)))


@pytest.mark.parametrize(
    ("gaps", "start"),
    [
        (
            {"cosine": 0.6, "constant": 0.5},
            "Yes: by the area under the query-loss curve, nft_constant was ahead of fft_constant "
            "by 0.4",
        ),
        (
            {"cosine": 0.6, "constant": 0.0},
            "No: by the area under the query-loss curve, under a constant rate nft_constant minus ",
        ),
        ({"cosine": 0.6, "constant": -0.4}, "No: by the area"),
        ({"cosine": 0.0, "constant": 0.0}, "Not clear (the interval holds 0): by the area"),
    ],
)
def test_the_claim_survives_where_the_first_arm_is_ahead_at_a_constant_rate_too(gaps, start):
    result = answer(gaps)
    assert result.question == CLAIM.question
    assert result.sentence.startswith(start)
    assert ("also under a constant rate" in result.sentence) == start.startswith("Yes")
    assert "; under cosine nft_cosine minus fft_cosine is " in result.sentence
    assert (result.contrast.a_name, result.contrast.b_name) == ("nft_constant", "fft_constant")
    assert "Both arms trained on the same instances" in result.caveats[0]


def test_a_gain_that_the_constant_rate_alone_has_is_not_called_one_that_survives():
    sentence = answer({"cosine": 0.0, "constant": 0.5}).sentence
    assert sentence.startswith("Yes: ")
    assert "also" not in sentence


def test_the_difference_of_the_gaps_is_paired_over_tasks_and_seeds_on_each_test_set():
    gaps = {"cosine": 0.6, "constant": 0.1}
    losses = {
        (trial.arm, int(trial.seed[0])): trial.task_losses("query").losses
        for trial in trials_of(gaps)
    }
    a, b, c, d = (
        np.stack([losses[name, seed] for seed in range(3)])
        for name in ("nft_constant", "fft_constant", "nft_cosine", "fft_cosine")
    )
    expected = compare_arms(STEPS, a - b, c - d)[1]
    detail = answer(gaps).details[0]
    assert (
        f"paired over tasks and seeds: on the query set +{expected.difference:.3f} (95%" in detail
    )
    assert f"{expected.low:.3f} to +{expected.high:.3f}: clearly less ahead)" in detail
    assert "on the held-out set +" in detail
    assert "On the held-out set: under constant nft_constant minus" in answer(gaps).details[1]
    without = answer(gaps, sets=("query",)).details
    assert not any("held-out" in text for text in without)


def test_the_rate_of_the_first_half_of_the_steps_is_summed_from_what_the_trials_noted():
    detail = answer({"cosine": 0.6, "constant": 0.5}).details[2]
    assert detail == (
        "Of the summed learning rate the first half of the steps carries 76% under cosine, "
        "50% under constant."
    )
    trials = trials_of({"cosine": 0.6, "constant": 0.5})
    for trial in trials:
        del trial.tables["train_log"]
    assert "summed" not in "".join(answer_of(CLAIM, group_arms(trials)).details)


def test_an_end_that_did_not_finish_leaves_the_question_open_and_no_other_arm_in_its_place():
    trials = trials_of({"cosine": 0.6, "constant": 0.5})
    for trial in trials:
        if trial.arm == "fft_constant":
            trial.summary["status"] = "failed"
    result = answer_of(CLAIM, group_arms(trials))
    assert result.sentence.startswith("This study does not say: the first and the last arm did not")
    assert result.caveats[0] == "No trial finished of: fft_constant."


def test_a_study_folder_says_which_schedule_an_arm_had_where_its_name_does_not(study_of):
    arms = {name: {"method": "tma"} for name in "abcd"}
    claim = {"question": "?", "kind": "schedule", "arms": list(arms)}
    study = study_of({"b": 0.5, "d": 0.5}, arms=arms, claim=claim, seeds=2)
    for trial in ("a-0", "a-1", "b-0", "b-1"):
        path = study / "trials" / trial / "config.yaml"
        path.write_text(path.read_text().replace("training:", "training:\n  schedule: constant"))
    record = read_study(study)
    result = answer_of(record.claim, group_arms(record.trials))
    assert "a was ahead of b by 0.4" in result.sentence
    (means,) = (text for text in result.details if text.startswith("Means by area"))
    at = [means.index(words) for words in ("under cosine c ", "d ", "under constant a ", "b ")]
    assert sorted(at) in (at, at[2:] + at[:2])
    assert "also under a constant rate; under cosine c minus d is" in result.sentence
