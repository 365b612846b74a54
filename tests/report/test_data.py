"""Every data set of a study keeps its own counts, and equal lines stand once."""

import copy

import pytest

from orchestrator.report.data import describe_data
from orchestrator.report.read import Trial
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
    entry = RUN["data"][0]
    data = [copy.deepcopy(entry) | {"trials": names} for names in (["a", "b"], ["c"], ["d"])]
    return {"data": data, "near_duplicates": RUN["near_duplicates"] * 3}


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_data_sets_are_named_by_the_settings_of_data_that_tell_them_apart(run):
    assert describe_data(run, TRIALS)["names"] == [
        "data.pool.seed 0 (trials: 2)",
        "data.pool.seed 1 (trials: 1)",
        "data.pool.seed 2 (trials: 1)",
    ]


def test_lines_that_all_data_sets_share_stand_once(run):
    found = describe_data(run, TRIALS)
    assert [row[:3] for row in texts(found["splits"])] == [
        ["Training pool", "all 3", "8,200"],
        ["Query set", "all 3", "30"],
    ]
    assert texts(found["leakage"]) == [["task shared with query", "all 3", "3"]]
    assert len(found["near"].rows) == len(found["pairs"].rows) == 1


def test_a_line_of_its_own_names_its_data_set_and_stands_by_its_split(run):
    run["data"][1]["splits"]["pool"]["instances"] = 7
    run["data"][1]["leakage"] = {}
    found = describe_data(run, TRIALS)
    both = "data.pool.seed 0; data.pool.seed 2"
    assert [row[:3] for row in texts(found["splits"])] == [
        ["Training pool", both, "8,200"],
        ["Training pool", "data.pool.seed 1", "7"],
        ["Query set", "all 3", "30"],
    ]
    assert texts(found["leakage"]) == [["task shared with query", both, "3"]]


def test_a_single_data_set_needs_no_name(run):
    found = describe_data({"data": run["data"][:1]}, TRIALS)
    assert found["splits"].headers[:2] == ["split", "instances"]
    assert texts(found["leakage"]) == [["task shared with query", "3"]]
    assert found["near"] is None
