"""Trials that a scheduler stopped early are shown as far as they went, and never compared."""

import csv
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.build import build_report, page_of
from orchestrator.report.claim import implied_claim
from orchestrator.report.contrast_tables import step_table
from orchestrator.report.drawing import STOP, arm_style, plotly_panel, save_png
from orchestrator.report.early import descents, early_table, set_changes, set_table
from orchestrator.report.figures import distance_panels, loss_panels
from orchestrator.report.measures import measure_panels
from orchestrator.report.read import read_study
from orchestrator.report.tables import summary_table
from orchestrator.storage.files import JOURNAL_FILE
from tests.report.conftest import ARMS
from tests.report.pages import words_of

LAST = 12  # falls between two evaluations of the finished trials


@pytest.fixture
def study(study_of):
    return study_of({"farthest_first": 0.1}, stopped={"random": LAST})


def arm_named(arms, name):
    (result,) = (arm for arm in arms if arm.name == name)
    return result


def test_the_summary_has_the_losses_of_the_last_step_and_the_best_one(study):
    rows = {row["trial"]: row for row in csv.DictReader((study / "summary.csv").open())}
    row = rows["random"]
    assert (row["status"], row["steps"]) == ("stopped", str(LAST))
    assert float(row["query_loss"]) == float(row["best_query_loss"]) == pytest.approx(3.8)
    assert float(row["held_out_loss"]) == pytest.approx(4.8)
    assert row["query_loss_auc"] == row["steps_to_90"] == row["order_sha256"] == ""
    record = read_study(study)
    table = summary_table(record.trials)
    cells = dict(zip(table.headers, table.rows[1], strict=True))
    assert (cells["status"].text, cells["query_loss"].text) == ("stopped", "3.800")


def test_what_all_trials_share_is_said_beside_the_summary_and_has_no_column_there(study):
    trials = read_study(study).trials
    table = summary_table(trials)
    assert len({trial.summary["status"] for trial in trials}) > 1
    assert "status" in table.headers
    assert "status" not in table.common
    finished = [trial for trial in trials if trial.finished]
    assert len(finished) > 1
    table = summary_table(finished)
    assert table.common.startswith("status finished; steps 24; ")
    assert not {"status", "steps"} & set(table.headers)
    assert {len(row) for row in table.rows} == {len(table.headers)}
    one, other = (
        replace(trial, summary=trial.summary | {"query_loss": loss, "status": "failed"})
        for trial, loss in zip(finished[:2], ("4.12310", "4.12349"), strict=True)
    )
    near = summary_table([one, other])
    losses = [row[near.headers.index("query_loss")].text for row in near.rows]
    assert losses == ["4.123", "4.123"], "rounded alike, and not the same"
    assert {row[near.headers.index("status")].kind for row in near.rows} == {"failed"}
    alone = summary_table(finished[:1])
    assert not alone.common
    assert "status" in alone.headers


def test_its_curve_ends_where_it_was_stopped_though_the_journal_goes_on(study):
    with (study / "trials" / "random" / JOURNAL_FILE).open("a") as journal:
        journal.write('{"event": "measure", "step": 14, "query_loss": 0.0}\n')
    arms = group_arms(read_study(study).trials)
    stopped = arm_named(arms, "random")
    assert stopped.label == "random (stopped after step 12)"
    for panel, start in zip(loss_panels(arms), (5.0, 6.0, 7.0), strict=True):
        (line,) = (line for line in panel.lines if line.arm is stopped)
        np.testing.assert_array_equal(line.x, np.arange(0, LAST + 1, 2))
        np.testing.assert_allclose(line.y, start - 0.1 * line.x)


def test_measures_and_distances_are_of_the_rows_that_it_was_trained_on(study_of):
    arms = group_arms(read_study(study_of({}, stopped={"nearest_first": LAST})).trials)
    for panel in measure_panels(arms):
        ends = {line.arm.name: line.x.max() for line in panel.lines}
        assert ends["nearest_first"] == 8
        assert ends["farthest_first"] == 24
    (panel,) = distance_panels(arms)
    ends = {line.arm.name: line.x.max() for line in panel.lines}
    assert ends["nearest_first"] < LAST * 16 <= ends["farthest_first"]


def test_it_is_drawn_with_a_cross_at_its_end_alone(study, tmp_path):
    arms = group_arms(read_study(study).trials)
    assert [arm_style(arm).marker == STOP for arm in arms] == [False, True, False, False]
    panel = loss_panels(arms)[0]
    assert '"symbol":"x"' in plotly_panel(panel)
    save_png([panel], tmp_path / "with.png")
    picture = plt.imread(tmp_path / "with.png")
    panel.lines[:] = [line for line in panel.lines if not line.arm.stopped]
    save_png([panel], tmp_path / "without.png")
    assert not np.array_equal(picture, plt.imread(tmp_path / "without.png"))


def test_no_comparison_has_it(study):
    trials = read_study(study).trials
    arms = group_arms(trials)
    answer = answer_of(implied_claim(trials), arms)
    assert answer.sentence.startswith("Yes")
    tables = (
        step_table(arms, answer.contrast),
        early_table(descents(arms)),
        set_table(set_changes(arms)),
    )
    for table in tables:
        words = [*table.headers, *(cell.text for row in table.rows for cell in row)]
        assert not [word for word in words if "random" in word]


def test_a_stopped_seed_is_no_part_of_the_mean_of_its_arm(study_of):
    stopped = {"random-1": 4, "random-2": 8}
    arms = group_arms(read_study(study_of({}, seeds=3, stopped=stopped)).trials)
    assert [trial.name for trial in arm_named(arms, "random").trials] == ["random-0"]
    labels = [arm.label for arm in arms if arm.stopped]
    assert labels == ["random-1 (stopped after step 4)", "random-2 (stopped after step 8)"]


def test_the_page_counts_them_and_calls_none_of_them_unfinished(study):
    words = words_of(page_of(study))
    assert "1 of 4 trials was stopped early by the study’s scheduler" in words
    assert "did not finish" not in words
    assert "random (stopped after step 12)" in words


@pytest.mark.parametrize("finished", [0, 1])
def test_a_page_of_hardly_anything_but_stopped_trials_makes_sense(study_of, finished):
    names = [*ARMS][finished:]
    path = build_report(study_of({}, stopped=dict.fromkeys(names, LAST)))
    page = path.read_text(encoding="utf-8")
    words = words_of(page)
    assert f"{4 - finished} of 4 trials were stopped early" in words
    assert 'id="loss-query"' in page
    assert "This study does not say" in words
    assert (path.parent / "figures" / "tasks.png").is_file() == bool(finished)


def test_a_damaged_journal_is_named_and_the_rest_is_shown(study):
    (study / "trials" / "random" / JOURNAL_FILE).write_text('{"event": "measure", "st\n')
    page = page_of(study)
    assert "random: its journal cannot be read" in words_of(page)
    assert 'id="loss-query"' in page
