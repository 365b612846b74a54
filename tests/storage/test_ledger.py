"""The ledger holds each score once, whoever writes it and how often."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.core.statistics.scores import standing
from orchestrator.errors import DataError
from orchestrator.storage.files import LEDGER_FILE
from orchestrator.storage.ledger import LINE, Line, append_once, read_ledger, scores_of
from tests.core.statistics.made_up import apart

SCORE = apart(5, 6, relative_error=0.1)


def entry(number, forecaster="distance", trials=None):
    return Line(
        forecast=f"digest {number}",
        forecaster=forecaster,
        study=f"study {number}",
        trials=trials or f"trials {number}",
        made="2024-11-22T09:00:00+00:00",
        scored="2024-11-22T10:00:00+00:00",
        sets={"query": SCORE},
    )


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


@pytest.mark.scenario("two-runs")
def test_studies_that_end_at_once_lose_no_line(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: append_once(tmp_path, [entry(number)]), range(24)))
    assert {line.forecast for line in read_ledger(tmp_path)} == {f"digest {n}" for n in range(24)}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"forecaster": "distance"}', "forecast: Field required"),
        (b"null", "Input should be"),
        (b'{"forecast": "half a line', "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (LINE.dump_json(entry(1)).replace(b'"study a0":', b'"study z":'), "arms lacks study a0"),
        (LINE.dump_json(entry(1)).replace(b'"ranked":', b'"pairs":'), "ranked: Field required"),
    ],
)
def test_a_line_that_is_no_score_is_named_with_what_to_do(tmp_path, line, why):
    append_once(tmp_path, [entry(1)])
    with (tmp_path / LEDGER_FILE).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(DataError, match=why) as refused:
        read_ledger(tmp_path)
    assert f"{tmp_path / LEDGER_FILE} line 2 is damaged, or of another version" in str(
        refused.value
    )
    assert "remove the line and run its study again" in str(refused.value)
