"""The first sentence names the best arm, however the claim's own pair stands."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.claim import implied_claim
from orchestrator.report.winner import best_sentence, find_winner, winner_table
from tests.report.curves import smooth, trial_of

MINUS = "\N{MINUS SIGN}"


def shifted(**shifts):
    """Arms of three seeds, whose losses lie so much higher; tasks differ a little in each."""
    return [
        trial_of(smooth() + shift * (1 + np.arange(8) / 100) + seed / 100, name=name, seed=seed)
        for name, shift in shifts.items()
        for seed in range(3)
    ]


def lines(table):
    return [
        dict(zip(table.headers, (cell.text for cell in row), strict=True)) for row in table.rows
    ]


def test_the_best_arm_is_named_first_though_the_claim_is_of_two_others():
    trials = shifted(near=0.0412, far=0.3, shuffled=0)
    for trial in trials:
        order = {"near": "nearest_first", "far": "farthest_first", "shuffled": "random"}
        trial.config["arrangement"]["order"] = order[trial.arm]
        trial.summary["set_sha256"] = "of all"
    answer = answer_of(implied_claim(trials), group_arms(trials))
    assert answer.headline.startswith("shuffled was best, 1.660 by the area")
    assert "next was near, 0.0426 higher (95% interval +0.0" in answer.headline
    assert answer.headline.endswith("corrected for all pairs of 3 arms): a clear difference.")
    assert answer.sentence.startswith("Yes: ")
    assert "nearest-first was ahead of farthest-first" in answer.sentence
    best, near, far = lines(winner_table(answer.winner))
    assert (best["arm"], best["clear"], near["clear"], far["clear"]) == (
        "shuffled", "best", "yes", "yes",
    )  # fmt: skip
    assert near["behind the best (95% interval)"].startswith("+0.0426 (+0.0")
    assert "budget" not in near
    least = min(answer.winner.decisive.behind.values(), key=lambda result: result.p)
    assert least.p_holm == pytest.approx(3 * least.p), "of three pairs"


def test_arms_that_cannot_differ_are_one_best_and_no_next_one_and_no_pair():
    """Two turn counts that a budget of steps makes the same, as a sweep may hold."""
    trials = [trial_of(smooth() + 0.3, name="other"), trial_of(smooth() + 0.7, name="last")]
    two, four = trial_of(smooth(), name="two turns"), trial_of(smooth(), name="four turns")
    four.summary["twin_of"] = two.name
    alone = find_winner(group_arms([two, four])).decisive
    assert alone.sentence.startswith("two turns and four turns, which cannot differ, came to 1.6")
    winner = find_winner(group_arms([*trials, two, four]))
    ranking = winner.decisive
    said = "two turns and four turns, which cannot differ, were best, 1.6"
    assert ranking.sentence.startswith(said)
    assert "; next was other, 0.300 higher" in ranking.sentence
    assert "corrected for all pairs of 3 arms" in ranking.sentence
    assert [line["clear"] for line in lines(winner_table(winner))] == ["best", "best", "yes", "yes"]
    answer = answer_of(implied_claim([]), group_arms([*trials, two, four]))
    assert (answer.contrast.a_name, answer.contrast.b_name) == ("two turns", "other")
    last = trial_of(smooth() + 0.7, name="last again")
    last.summary["twin_of"] = trials[1].name
    again = find_winner(group_arms([*trials, two, four, last])).decisive
    assert "; next was other, 0.300 higher" in again.sentence
    behind = {arm.name: result for arm, result in again.behind.items()}
    assert behind["last"] == behind["last again"]
    pair = find_winner(group_arms([two, trials[1], last])).decisive
    assert "; next were last and last again, which cannot differ, 0.700 higher" in pair.sentence
    assert behind["last"] == next(
        result for arm, result in ranking.behind.items() if arm.name == "last"
    )


def test_what_is_not_clear_has_its_reason_beside_it():
    few = [
        trial_of((smooth() + shift)[:, :5], name=name) for name, shift in {"a": 0, "b": 9}.items()
    ]
    winner = find_winner(group_arms(few)).decisive
    assert winner.sentence.endswith("9.000 higher (95% interval +9.000 to +9.000): not clear, "
                                    "fewer than 6 tasks")  # fmt: skip
    apart = np.where(np.arange(8) % 2, 0.1, -0.09)
    winner = find_winner(
        group_arms([trial_of(smooth()), trial_of(smooth() + apart, name="b")])
    ).decisive
    assert winner.sentence.endswith("not clear, the interval holds 0")


@pytest.mark.parametrize(("batches", "told"), [((4, 4), False), ((4, 8), True)])
def test_a_last_batch_that_is_short_of_rows_is_no_other_budget(batches, told):
    """A turn ends where its queries do; what counts is how many steps of how many rows."""
    short, long = trial_of(smooth(), name="short"), trial_of(smooth() + 0.1, name="long")
    for trial, rows, batch in zip((short, long), (31, 32), batches, strict=True):
        trial.tables["plan"] = pa.table({"row": range(rows)})
        trial.config["training"] = {"global_batch": batch}
    warning = find_winner(group_arms([short, long])).warning
    assert warning.startswith("Arms were not trained equally long: ") == told
    assert bool(warning) == told


def test_arms_of_other_budgets_are_told_loudly_at_the_same_steps_and_at_their_own_ends():
    """The short arm is ahead as far as it goes, and the long one in the end."""
    fall = np.linspace(4, 1, 6)[:, None] + np.arange(8) / 10
    long, short = trial_of(fall, name="long"), trial_of(fall[:3] - 0.5, name="short")
    long.tables["plan"] = pa.table({"row": range(300)})
    short.tables["plan"] = pa.table({"row": range(19)})
    winner = find_winner(group_arms([short, long]))
    assert best_sentence(winner, []).startswith(
        "long was best, 1.350 by the query loss at the end of its own budget; next was short, "
    )
    assert winner.warning.startswith(
        "Arms were not trained equally long: short 19 rows (20 steps), long 300 rows (50 steps). "
        "More training alone may lower a loss. At the same steps short was best, "
    )
    assert "up to the last common step, 20; next was long, 0.5" in winner.warning
    first, second = lines(winner_table(winner))
    assert (first["arm"], first["budget"]) == ("long", "300 rows (50 steps)")
    assert first["same steps: area to step 20"] > second["same steps: area to step 20"]
    assert first["own budget: loss at its end"] < second["own budget: loss at its end"]
    answer = answer_of(implied_claim([]), group_arms([short, long]))
    assert (answer.contrast.a_name, answer.contrast.b_name) == ("long", "short"), "as the headline"
    assert answer.details[0].startswith("The tables that set long and short against each other are")
    assert "up to the last common step, 20" in answer.details[0]


def test_arms_measured_together_at_step_0_alone_are_not_ranked_by_the_untouched_model():
    short, long = trial_of(smooth()[:3], name="short"), trial_of(smooth()[:6], name="long")
    log = short.tables["losses"]
    short.tables["losses"] = log.set_column(
        0, "step", pa.array([step // 10 * 7 for step in log["step"].to_pylist()])
    )
    arms = group_arms([short, long])
    answer = answer_of(implied_claim([]), arms)
    assert answer.winner.same_steps is None
    assert answer.headline.startswith("long was best, 1.3")
    assert answer.winner.warning.endswith(
        "They were measured together at no step but 0: to compare them at the same steps, set "
        "evaluation.every to steps that all of them reach, 14 at most."
    )
    assert not any("same steps" in header for header in winner_table(answer.winner).headers)
    assert answer.contrast is None
    assert any(caveat.startswith("One seed on 8 tasks") for caveat in answer.caveats)


def test_seeds_that_draw_other_numbers_of_rows_leave_arms_equally_long():
    trials = [
        trial_of(smooth()[: 5 + seed] + shift, name=name, seed=seed)
        for name, shift in {"a": 0, "b": 1}.items()
        for seed in range(2)
    ]
    for trial in trials:
        trial.tables["plan"] = pa.table({"row": range(503 + 26 * trial.config["seed"])})
    winner = find_winner(group_arms(trials))
    assert (winner.own_end, winner.warning) == (None, "")
    assert "by area to step 40" in winner_table(winner).headers
    assert {budget.words for budget in winner.budgets.values()} == {
        "503 to 529 rows (40 to 50 steps)"
    }
    trials[0].tables["losses"] = trials[0].tables["losses"].slice(0, 3 * 8)
    assert find_winner(group_arms(trials)).own_end, "of the same seed one is shorter"


def test_losses_and_differences_are_of_the_same_tasks():
    """Of all tasks b is ahead of a, which is best of those that all three have."""
    losses = {
        "a": smooth(),
        "b": smooth() + np.where(np.arange(8) < 6, 0.1, -5),
        "c": smooth()[:, :6] + 1,
    }
    winner = find_winner(group_arms([trial_of(of, name=name) for name, of in losses.items()]))
    assert "next was b, 0.100 higher" in winner.same_steps.sentence


def test_a_loss_that_is_lower_over_the_shared_seeds_is_said_to_be():
    shifts = {("a", 0): 0, ("a", 1): 1, ("b", 1): 0.5, ("b", 2): 2, ("c", 2): 5, ("c", 0): 5}
    trials = [trial_of(smooth() + by, name=name, seed=seed) for (name, seed), by in shifts.items()]
    sentence = find_winner(group_arms(trials)).decisive.sentence
    assert "next was b, 0.500 lower over the seeds that the two share" in sentence


def test_arms_that_cannot_be_compared_are_said_to_be_so():
    other = trial_of(smooth() + 1, name="b", seed=7)
    winner = find_winner(group_arms([trial_of(smooth()), other]))
    assert best_sentence(winner, []).endswith("next was b, which shares no seed with it.")
    assert lines(winner_table(winner))[1]["clear"] == "nothing in common"
    assert best_sentence(None, []) == "This study does not say: no trial finished."
