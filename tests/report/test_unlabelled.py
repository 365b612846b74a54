"""A set without task labels is compared by its instances, a set with them by its tasks."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.core.comparison import FEWEST_TASKS
from orchestrator.data.instance import UNLABELLED
from orchestrator.report.answer import answer_question
from orchestrator.report.build import build_report
from orchestrator.report.read import read_study
from orchestrator.report.sudden import sudden_drops
from tests.report.conftest import ARMS


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
    result = answer_question(read_study(unlabelled).trials).contrast.by_area
    assert result.tasks == 29 >= FEWEST_TASKS
    assert result.verdict == "ahead"


def test_the_page_says_what_counts_as_a_task(unlabelled):
    page = build_report(unlabelled).read_text(encoding="utf-8")
    assert "Without task labels: Query set. There each instance" in page


def test_labelled_sets_have_no_such_note(study_of):
    assert "Without task labels" not in build_report(study_of({})).read_text(encoding="utf-8")


def test_no_sudden_drop_of_a_task_is_looked_for(unlabelled):
    trials = read_study(unlabelled).trials
    trials[0].config["arrangement"] = {"method": "cluster"}
    rows = [[cell.text for cell in row] for row in sudden_drops(trials).matches.rows]
    assert [row[1] for row in rows] == ["no task labels"] * len(ARMS)
