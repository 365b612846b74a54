"""Rows, steps and tokens are told as well as they are known, against what is really built."""

import numpy as np
import pytest

from orchestrator.config.arrangement import Arrangement
from orchestrator.errors import DataError
from orchestrator.estimate.amounts import Amount, planned_rows, trial_amounts
from orchestrator.estimate.evaluating import SetSize, evaluation_share
from orchestrator.estimate.stored import StoreLookup
from tests.estimate.base import POOL, QUERIES, config

NEAREST = {"selection": "nearest"}
POLAR = {"method": "wsd", "selection": "polar"}


@pytest.mark.parametrize(
    ("arrangement", "known", "unread"),
    [
        ({}, Amount(100), None),
        ({**NEAREST, "rows": 40}, Amount(40), Amount(40)),
        ({**NEAREST, "rows": 40, "cut": False}, Amount(40, "~"), Amount(40, "~")),
        ({**NEAREST, "rows": 40, "turns": 3}, Amount(40, "<="), Amount(40, "<=")),
        ({**NEAREST, "turns": 3}, Amount(100, "<="), None),
        ({**NEAREST, "turn_window": [0, 2]}, Amount(100, "<="), None),
        ({"method": "random"}, Amount(100), None),
        ({**POLAR, "per_task": 5}, Amount(35, "<="), None),
        ({**POLAR, "per_task": 5, "cut": False}, Amount(63, "<="), None),
        ({**POLAR, "per_task": 50}, Amount(100, "<="), None),
        ({"method": "random", "answer_tokens": 40}, None, None),
        ({**NEAREST, "answer_tokens": 40, "turns": 3}, Amount(100, "<="), None),
    ],
)
def test_rows_are_known_as_far_as_the_budget_and_the_pool_tell(arrangement, known, unread):
    loaded = Arrangement.model_validate(arrangement)
    assert (planned_rows(loaded, 100, 7), planned_rows(loaded, None)) == (known, unread)


def test_a_budget_in_answer_tokens_is_about_so_many_mean_answers(store):
    budget = config(arrangement={"method": "random", "answer_tokens": 500})
    (table,) = (store / "tokens").glob("*/starts.npy")
    starts, answer = np.load(table), np.load(table.with_name("answer.npy"))
    mean = answer[: starts[POOL]].sum() / POOL
    assert trial_amounts(budget, StoreLookup(store)).rows == Amount(round(500 / mean), "~")


def test_an_order_from_a_file_has_the_rows_that_it_names(tmp_path):
    order = tmp_path / "order.txt"
    given = {"method": "given", "options": {"path": str(order)}}
    empty = StoreLookup(tmp_path / "none")
    with pytest.raises(DataError, match=r"order\.txt is no file: give one of ids"):
        trial_amounts(config(arrangement=given), empty)
    order.write_text("a\nb\n\nc\n")
    assert trial_amounts(config(arrangement=given), empty).rows == Amount(3)
    assert trial_amounts(config(arrangement={**given, "rows": 2}), empty).rows == Amount(2)


def test_tokens_are_exact_for_the_whole_pool_about_for_a_part_and_at_most_before_it_is_read(store):
    found, empty = StoreLookup(store), StoreLookup(store / "none")
    lengths = np.diff(np.load(next((store / "tokens").glob("*/starts.npy"))))[:POOL]
    whole = trial_amounts(config(), found)
    assert whole.tokens == Amount(int(lengths.sum()))
    part = config(arrangement={"selection": "nearest", "rows": 50})
    assert trial_amounts(part, found).tokens == Amount(round(50 * lengths.mean()), "~")
    assert trial_amounts(part, empty).tokens == Amount(50 * 1024, "<=")
    assert trial_amounts(config(), empty).tokens is None


def test_measured_items_are_all_at_the_ends_and_a_part_between_them(store):
    found = StoreLookup(store)
    every = {"every": 5}
    assert trial_amounts(config(evaluation=every), found).measured == Amount(6 * QUERIES)
    sampled = {**every, "sample": 3, "whole": [10]}
    # Each of the ten query tasks has one item, and is measured.
    assert trial_amounts(config(evaluation=sampled), found).measured == Amount(6 * QUERIES)
    assert trial_amounts(config(), StoreLookup(store / "none")).measured is None


def test_the_share_of_evaluation_is_that_of_its_operations(store):
    found = StoreLookup(store)
    starts = np.load(next((store / "tokens").glob("*/starts.npy")))
    trained, tests = starts[POOL], starts[-1] - starts[POOL]

    def share(**sections):
        return trial_amounts(config(**sections), found).evaluating

    measured = 2 * 5 * tests  # after steps 5, 10, 15, 20 and 25
    every = {"evaluation": {"every": 5}}
    assert share(**every) == pytest.approx(measured / (measured + 6 * trained))
    short = 2 * 5 * QUERIES * 7  # at most, until its table is made
    assert share(evaluation={"every": 5, "max_length": 7}) == pytest.approx(
        short / (short + 6 * trained)
    )
    lora = {"adapter": {"type": "lora"}}
    assert share(**every, model=lora) == pytest.approx(measured / (measured + 4 * trained))
    again = {"gradient_checkpointing": True}
    assert share(**every, model=again) == pytest.approx(measured / (measured + 8 * trained))
    generate = {"every": [25], "max_new_tokens": 7, "max_items": 4}  # at step 0, too
    answers = 2 * 2 * 4 * (tests / QUERIES + 7)
    assert share(evaluation={"every": 5, "generate": generate}) == pytest.approx(
        (measured + answers) / (measured + answers + 6 * trained)
    )
    assert trial_amounts(config(), StoreLookup(store / "none")).evaluating is None


def test_a_sample_lowers_the_share_between_the_ends_alone():
    sets = [SetSize(items=50, tasks=10, tokens=5000), SetSize(items=4, tasks=4, tokens=400)]
    sampled = config(evaluation={"every": 1, "sample": 0.4})
    measured = 3 * (2000 + 400) + 5400  # after steps 1 to 3, and the last
    assert evaluation_share(sampled, sets, 4, 10_000) == pytest.approx(
        2 * measured / (2 * measured + 60_000)
    )


def test_passes_multiply_rows_steps_and_tokens_and_each_ends_with_a_short_batch(store):
    found = StoreLookup(store)
    once = trial_amounts(config(training={"global_batch": 8}), found)
    thrice = trial_amounts(config(training={"global_batch": 8, "epochs": 3}), found)
    assert (once.steps, thrice.steps) == (Amount(13), Amount(39))  # not 38
    assert thrice.rows == thrice.trained == Amount(300)
    assert thrice.tokens == Amount(3 * once.tokens.count)
    limited = config(training={"global_batch": 8, "epochs": 3, "max_steps": 14})
    assert trial_amounts(limited, found).trained == Amount(108)


def test_steps_evaluations_and_trained_rows_stop_at_max_steps(store):
    limited = config(training={"max_steps": 7}, evaluation={"every": 3})
    found = trial_amounts(limited, StoreLookup(store))
    assert (found.rows, found.steps, found.trained) == (Amount(100), Amount(7), Amount(28))
    assert found.evaluations == Amount(4)  # 0, 3, 6 and 7
    unread = trial_amounts(limited, StoreLookup(store / "none"))
    assert (unread.rows, unread.steps, unread.trained) == (None, Amount(7, "<="), Amount(28, "<="))
