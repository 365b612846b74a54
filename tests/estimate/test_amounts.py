"""Rows, steps and tokens are told as well as they are known, against what is really built."""

import numpy as np
import pytest

from orchestrator.config.arrangement import Arrangement
from orchestrator.estimate.amounts import Amount, planned_rows, trial_amounts
from orchestrator.estimate.stored import StoreLookup
from tests.estimate.base import POOL, QUERIES, config

NEAREST = {"selection": "nearest"}


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
    ],
)
def test_rows_are_known_as_far_as_the_budget_and_the_pool_tell(arrangement, known, unread):
    loaded = Arrangement.model_validate(arrangement)
    assert (planned_rows(loaded, 100), planned_rows(loaded, None)) == (known, unread)


def test_tokens_are_exact_for_the_whole_pool_about_for_a_part_and_at_most_before_it_is_read(store):
    found, empty = StoreLookup(store), StoreLookup(store / "none")
    lengths = np.diff(np.load(next((store / "tokens").glob("*/starts.npy"))))[:POOL]
    whole = trial_amounts(config(), found)
    assert whole.tokens == Amount(int(lengths.sum()))
    assert whole.test_items == QUERIES
    part = config(arrangement={"selection": "nearest", "rows": 50})
    assert trial_amounts(part, found).tokens == Amount(round(50 * lengths.mean()), "~")
    assert trial_amounts(part, empty).tokens == Amount(50 * 1024, "<=")
    assert trial_amounts(config(), empty).tokens is None


def test_steps_evaluations_and_trained_rows_stop_at_max_steps(store):
    limited = config(training={"max_steps": 7}, evaluation={"every": 3})
    found = trial_amounts(limited, StoreLookup(store))
    assert (found.rows, found.steps, found.trained) == (Amount(100), Amount(7), Amount(28))
    assert found.evaluations == Amount(4)  # 0, 3, 6 and 7
    unread = trial_amounts(limited, StoreLookup(store / "none"))
    assert (unread.rows, unread.steps, unread.trained) == (None, Amount(7, "<="), Amount(28, "<="))
