"""A set without task labels is compared by its instances, a set with them by its tasks."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.data.instance import UNLABELLED
from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.build import page_of
from orchestrator.report.claim import implied_claim
from orchestrator.report.findings import section_finding
from orchestrator.report.picker import task_picker
from orchestrator.report.read import read_study
from orchestrator.report.sudden import sudden_drops
from tests.report.conftest import ARMS
from tests.report.pages import words_of


@pytest.fixture
def unlabelled(study_of):
    """Nearest-first is 0.2 ahead, on a query set whose instances have no tasks."""
    study = study_of({"nearest_first": -0.2})
    for path in study.glob("trials/*/losses.parquet"):
        rows = pq.read_table(path).to_pylist()
        rows = [row | ({"task": UNLABELLED} if row["set"] == "query" else {}) for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), path)
    return study


def test_instances_take_the_place_of_tasks(unlabelled):
    trials = read_study(unlabelled).trials
    curves = trials[0].task_losses("query")
    assert len(curves.tasks) == 29  # of 30 instances one has no loss
    assert UNLABELLED not in curves.tasks
    assert len(trials[0].task_losses("held_out").tasks) == 10
    assert [trials[0].unlabelled(name) for name in ("query", "held_out", "none")] == [
        True, False, False,
    ]  # fmt: skip


def test_such_a_set_can_be_answered(unlabelled):
    trials = read_study(unlabelled).trials
    result = answer_of(implied_claim(trials), group_arms(trials)).contrast.by_area
    assert result.tasks == 29 >= FEWEST_TASKS
    assert result.verdict == "ahead"


def test_the_answer_speaks_of_instances_and_never_of_tasks(unlabelled):
    record = read_study(unlabelled)
    claim = Claim(question="Is it best?", arms=["nearest_first", "random"])
    arms = group_arms(record.trials)
    for answer in (
        answer_of(implied_claim(record.trials), arms),
        answer_of(claim, arms),
        section_finding("early", arms),
    ):  # fmt: skip
        words = " ".join([answer.sentence, *answer.details, *answer.caveats])
        assert "29 instances" in words
        assert "task" not in words.replace("nearest_first_tasks", "")


def test_the_page_speaks_of_instances_where_a_set_has_no_tasks(unlabelled):
    words = words_of(page_of(unlabelled))
    for instances in (
        "Without task labels, so compared by instances: Query set.",
        "Query loss, mean over instances",
        "95% interval instances nearest_first",  # headers of the table of steps
        "Area of each instance instance nearest-first",
        "Query set 29 instances",
        "Held-out set 10 tasks",
        "against the whole query set",
        "One instance at a time Query instance",
    ):
        assert instances in words


def test_a_labelled_set_is_never_said_to_be_compared_by_instances(study_of):
    words = words_of(page_of(study_of({})))
    assert "Without task labels" not in words
    assert "by instances" not in words
    assert "Query set 10 tasks" in words


def test_the_picker_has_no_distances_of_tasks_where_it_picks_instances(unlabelled):
    picker = task_picker(group_arms(read_study(unlabelled).trials))
    assert len(picker.tasks) == 29
    assert {len(lines) for lines in picker.values} == {len(ARMS)}  # the losses alone


def test_no_sudden_drop_of_a_task_is_looked_for(unlabelled):
    trials = read_study(unlabelled).trials
    trials[0].config["arrangement"] = {"method": "cluster"}
    rows = sudden_drops(trials)
    assert [row.obstacle for row in rows] == ["no task labels"] * len(ARMS)
