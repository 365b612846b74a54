"""Every data set of a study keeps its own counts, and equal lines stand once."""

import copy

import pytest

from orchestrator.report.data import data_section
from orchestrator.report.trial import Trial
from tests.report.conftest import RUN

KEYS = ("data.pool.seed", "data.near_duplicate", "training.learning_rate")


def trial(name, *values):
    summary = {"trial": name, "status": "finished"} | dict(zip(KEYS, values, strict=True))
    return Trial(summary, {}, {}, [])


TRIALS = [
    trial("a", "0", "0.9", "1"),
    trial("b", "0", "0.95", "2"),
    trial("c", "1", "0.9", "1"),
    trial("d", "2", "0.9", "1"),
]


@pytest.fixture
def run():
    """Three data sets of which nothing differs but the trials that use them."""
    trials = [["a", "b"], ["c"], ["d"]]
    return {
        section: [copy.deepcopy(RUN[section][0]) | {"trials": names} for names in trials]
        for section in ("data", "near_duplicates")
    }


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_data_sets_are_named_by_the_settings_of_data_that_tell_them_apart(run):
    assert data_section(run, TRIALS)["names"] == [
        "data.pool.seed 0 (trials: 2)",
        "data.pool.seed 1 (trials: 1)",
        "data.pool.seed 2 (trials: 1)",
    ]


def test_lines_that_all_data_sets_share_stand_once(run):
    result = data_section(run, TRIALS)
    assert [row[:3] for row in texts(result["splits"])] == [
        ["Training pool", "all 3", "8,200"],
        ["Query set", "all 3", "30"],
    ]
    assert texts(result["leakage"]) == [["task shared with query", "all 3", "3"]]
    assert [row[:3] for row in texts(result["near"])] == [["0.95", "all 3", "1,041"]]
    assert [row[:3] for row in texts(result["pairs"])] == [["0.9987", "all 3", "pool/17"]]


def test_a_line_of_its_own_names_its_data_set_and_stands_by_its_split(run):
    run["data"][1]["splits"]["pool"]["instances"] = 7
    run["data"][1]["leakage"] = {}
    result = data_section(run, TRIALS)
    both = "data.pool.seed 0; data.pool.seed 2"
    assert [row[:3] for row in texts(result["splits"])] == [
        ["Training pool", both, "8,200"],
        ["Training pool", "data.pool.seed 1", "7"],
        ["Query set", "all 3", "30"],
    ]
    assert texts(result["leakage"]) == [["task shared with query", both, "3"]]


def test_near_duplicates_name_their_data_set_the_nearest_pair_first(run):
    nearer = run["near_duplicates"][2]
    nearer["counts"]["query"], nearer["pairs"][0]["cosine"] = 7, 1.0
    result = data_section(run, TRIALS)
    both = "data.pool.seed 0; data.pool.seed 1"
    assert [row[:3] for row in texts(result["near"])] == [
        ["0.95", both, "1,041"],
        ["0.95", "data.pool.seed 2", "7"],
    ]
    assert [row[:2] for row in texts(result["pairs"])] == [
        ["1.0000", "data.pool.seed 2"],
        ["0.9987", both],
    ]


def test_a_data_set_without_vectors_is_not_among_those_with_near_duplicates(run):
    result = data_section(run | {"near_duplicates": run["near_duplicates"][1:2]}, TRIALS)
    assert [row[:2] for row in texts(result["near"])] == [["0.95", "data.pool.seed 1"]]


def test_a_test_set_without_vectors_is_not_said_to_have_no_near_duplicates(run):
    del run["near_duplicates"][1]["counts"]["held_out"]
    near = texts(data_section(run, TRIALS)["near"])
    assert [row[3] for row in near] == ["0", "not looked for"]


def test_vectors_that_were_given_are_named_by_their_file(run):
    assert data_section(run, TRIALS)["own"] is None
    trials = [name for entry in run["data"] for name in entry["trials"]]
    own = {
        "query": {"rows": 30, "matched": "row", "sha256": "b" * 64},
        "pool": {"rows": 9000, "matched": "id", "sha256": "a" * 64},
    }
    given = {"trials": trials, "texts": 8230, "splits": {"pool": 8200, "query": 30}, "own": own}
    result = data_section({"data": run["data"][:1], "embeddings": [given]}, TRIALS)
    assert result["vectors"] is None
    assert texts(result["own"]) == [
        ["Training pool", "8,200", "9,000", "id", "a" * 12],
        ["Query set", "30", "30", "row", "b" * 12],
    ]


def test_a_single_data_set_needs_no_name(run):
    result = data_section({"data": run["data"][:1]}, TRIALS)
    assert result["splits"].headers[:2] == ["split", "instances"]
    assert texts(result["leakage"]) == [["task shared with query", "3"]]
    assert result["near"] is None
    twice = [run["near_duplicates"][0], run["near_duplicates"][0] | {"threshold": 0.9}]
    result = data_section({"data": run["data"][:1], "near_duplicates": twice}, TRIALS)
    assert [row[:2] for row in texts(result["near"])] == [["0.95", "1,041"], ["0.9", "1,041"]]


def test_what_is_fed_and_what_vectors_tell_apart_is_counted_where_it_is_known(run):
    assert data_section(run, TRIALS)["fed"] is None
    trials = [name for entry in run["data"] for name in entry["trials"]]
    fed = {"instances": 9, "tokens": 1234, "proved": 9, "reshaped": 1, "cut": 0, "unanswered": 0}
    vectors = {"texts": 9, "cut": 4, "different": 8, "distinct": 6, "alike": 3}
    counts = {"tokens": [{"trials": trials, **fed}], "embeddings": [{"trials": trials, **vectors}]}
    result = data_section({**run, **counts, "near_duplicates": [], "data": run["data"][:1]}, TRIALS)
    assert texts(result["fed"]) == [["9", "1,234", "9", "1", "0", "0"]]
    assert texts(result["vectors"]) == [["9", "4", "8", "6", "3"]]


def test_columns_that_nothing_read_stand_beside_their_split(run):
    run["data"][0]["splits"]["pool"]["unread"] = {"input": 12, "messages.images": 1}
    result = data_section({"data": run["data"][:1]}, TRIALS)
    assert [row[-1] for row in texts(result["splits"])] == ["input: 12; messages.images: 1", "none"]
