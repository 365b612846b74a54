"""The report says which sources an arm's rows come from and when, and how each source fares."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.report.arms import Arm
from orchestrator.report.data import split_table
from orchestrator.report.sources import source_loss_table, source_table
from orchestrator.report.trial import Trial

POOL = [{"reader": "jsonl", "path": "flan.jsonl"}, {"reader": "jsonl", "path": "own.jsonl"}]


def trial(sources, losses=(), max_steps=None, **data):
    """A trial with the source of each row of its plan, and (step, id, loss) of held-out items."""
    plan = pa.table({"position": np.arange(len(sources)), "source": sources})
    tables = {"plan": plan if sources and sources[0] else plan.drop(["source"])}
    if losses:
        step, ids, values = zip(*losses, strict=True)
        tables["losses"] = pa.table(
            {"step": step, "set": ["held_out"] * len(step), "id": ids, "loss": values}
        )
    config = {
        "training": {"global_batch": 2, "max_steps": max_steps},
        "data": {"pool": POOL, "held_out": {"from": "pool", "rows": 3}} | data,
    }
    return Trial({"trial": "a", "status": "finished"}, config, tables, [])


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_each_third_of_an_arm_tells_its_sources_as_means_over_its_seeds():
    sorted_by_source = trial(["flan"] * 3 + ["own"] * 6)
    mixed = trial(["own", "flan", "own"] * 3)
    table = source_table(
        [Arm(0, "sorted", [sorted_by_source]), Arm(1, "both", [sorted_by_source, mixed])]
    )
    assert table.headers == [
        "arm", "source", "rows", "of all", "first third", "second third", "last third"
    ]  # fmt: skip
    assert texts(table) == [
        ["sorted", "flan", "3", "33%", "100%", "0%", "0%"],
        ["sorted", "own", "6", "67%", "0%", "100%", "100%"],
        ["both", "flan", "3", "33%", "67%", "17%", "17%"],
        ["both", "own", "6", "67%", "33%", "83%", "83%"],
    ]


def test_only_rows_that_are_trained_on_count():
    table = source_table([Arm(0, "a", [trial(["flan"] * 4 + ["own"] * 96, max_steps=2)])])
    assert texts(table) == [["a", "flan", "4", "100%", "100%", "100%", "100%"]]


def test_of_several_passes_the_rows_that_are_trained_on_count():
    # Passes of 5 rows in batches of 2, 2 and 1: four steps are a pass and 2 rows.
    short = trial(2 * [*["flan"] * 4, "own"], max_steps=4)
    short.config["training"]["epochs"] = 2
    assert texts(source_table([Arm(0, "a", [short])]))[0][2] == "6"


def test_held_out_losses_stand_by_source():
    losses = [
        (0, "flan/1", 3.0), (0, "flan/2", 2.0), (0, "own/a/1", 4.0),
        (8, "flan/1", 1.0), (8, "flan/2", None), (8, "own/a/1", 4.5),
    ]  # fmt: skip
    arm = Arm(0, "a", [trial(["flan"], losses)])
    assert texts(source_loss_table([arm])) == [
        ["a", "flan", "2", "2.500", "1.000", "−1.500"],
        ["a", "own", "1", "4.000", "4.500", "+0.500"],
    ]


@pytest.mark.parametrize(
    "data", [{"pool": POOL[0]}, {"held_out": POOL[0]}, {"held_out": {"from": "query"}}]
)
def test_without_sources_nothing_is_said_of_them(data):
    arm = Arm(0, "a", [trial([None], [(0, "flan/1", 3.0)], **data)])
    assert source_table([arm]) is None
    assert source_loss_table([arm]) is None


def test_the_splits_are_told_source_by_source():
    told = {"instances": 5, "dropped": {"not drawn": 2}, "notes": {}, "unread": {}}
    pool = {**told, "tasks": 2, "repeated": 3}
    pool["sources"] = {"flan": told, "own": told | {"dropped": {}}}
    held = {**told, "tasks": 1, "dropped": {}, "sources": {"flan": {"instances": 5}}}
    data_set = {"trials": [], "splits": {"pool": pool, "held_out": held}, "leakage": {}}
    assert [row[:5] for row in texts(split_table([("", data_set)]))] == [
        ["Training pool", "5", "2", "3", "not drawn: 2"],
        ["Training pool: flan", "5", "–", "–", "not drawn: 2"],
        ["Training pool: own", "5", "–", "–", "none"],
        ["Held-out set", "5", "1", "–", "none"],
        ["Held-out set: flan", "5", "–", "–", "none"],
    ]
