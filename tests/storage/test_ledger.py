"""The ledger holds each score once, whoever writes it and how often."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from orchestrator.core.statistics.forecasting import Score, standing
from orchestrator.errors import DataError
from orchestrator.storage.files import LEDGER_FILE
from orchestrator.storage.ledger import append_once, read_ledger, scores_of

SCORE = Score(pairs=6, right=5, clear=3, clear_right=3, undecided=0, brier=0.1)


def entry(number, forecaster="distance", trials=None):
    return {
        "forecast": f"digest {number}",
        "forecaster": forecaster,
        "trials": trials or f"trials {number}",
        "sets": {"query": asdict(SCORE)},
    }


def test_scores_of_several_studies_add_up_for_each_forecaster_and_test_set(tmp_path):
    append_once(tmp_path, [entry(1), entry(2, "proxy")])
    append_once(tmp_path, [entry(3)])
    entries = read_ledger(tmp_path)
    assert scores_of(entries, "distance", "query") == [SCORE, SCORE]
    assert scores_of(entries, "distance", "held_out") == []
    assert standing(scores_of(entries, "proxy", "query")).pairs == 6


def test_a_forecast_counts_once_and_so_do_the_same_trials_foretold_again(tmp_path):
    append_once(tmp_path, [entry(1)])
    before = (tmp_path / LEDGER_FILE).read_bytes()
    append_once(tmp_path, [entry(1)])
    append_once(tmp_path, [entry(2, trials="trials 1")])
    assert (tmp_path / LEDGER_FILE).read_bytes() == before
    append_once(tmp_path, [entry(2, "proxy", trials="trials 1")])
    assert len(read_ledger(tmp_path)) == 2


def test_studies_that_end_at_once_lose_no_line(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: append_once(tmp_path, [entry(number)]), range(24)))
    assert {line["forecast"] for line in read_ledger(tmp_path)} == {
        f"digest {n}" for n in range(24)
    }


def test_a_line_that_is_no_score_is_named(tmp_path):
    append_once(tmp_path, [entry(1)])
    with (tmp_path / LEDGER_FILE).open("a") as file:
        file.write('{"forecaster": "distance"}\n')
    with pytest.raises(DataError, match=r"ledger\.jsonl line 2 is no score"):
        read_ledger(tmp_path)
