"""A study whose steps in between are of a part of the items: marked, and answered as in full."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data.instance import UNLABELLED
from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.build import build_report, page_of
from orchestrator.report.claim import implied_claim
from orchestrator.report.contrast_tables import step_table
from orchestrator.report.drawing import plotly_panel
from orchestrator.report.figures import loss_panels
from orchestrator.report.picker import task_picker
from orchestrator.report.read import read_study
from orchestrator.report.reproduce import claim_checks
from orchestrator.report.sampled import sampled_note
from orchestrator.report.summary import trial_metrics
from orchestrator.report.tables import SAMPLED
from tests.report.conftest import ARMS, STEPS, make_study

PAIR = {"near": ARMS["nearest_first"], "far": ARMS["farthest_first"]}


def thin(study, *, unlabelled=False):
    """Keep the first two of a task's three items at the steps between the ends."""
    for path in study.glob("trials/*/losses.parquet"):
        lines = pq.read_table(path).to_pylist()
        if unlabelled:
            lines = [line | {"task": UNLABELLED} for line in lines]
        lines = [
            line
            for line in lines
            if line["step"] in (STEPS[0], STEPS[-1])
            or (not line["id"].endswith("/2") and line["loss"] is not None)
        ]
        pq.write_table(pa.Table.from_pylist(lines), path)
    return study


@pytest.fixture
def both(study_of, tmp_path):
    """A study in full, and the same one thinned."""
    full = read_study(study_of({"near": -0.3}, arms=PAIR))
    return full, read_study(thin(tmp_path / "quickstart"))


def answer(record):
    return answer_of(implied_claim(record.trials), group_arms(record.trials))


def test_the_answer_and_its_interval_are_nearly_those_of_all_items(both):
    full, part = map(answer, both)
    assert full.contrast.by_area.verdict == part.contrast.by_area.verdict == "ahead"
    assert part.contrast.by_area.tasks == full.contrast.by_area.tasks
    for name in ("difference", "low", "high"):
        found = [getattr(a.contrast.by_area, name) for a in (full, part)]
        assert found[1] == pytest.approx(found[0], abs=0.01)
    ends = [[a.contrast.by_step[step] for step in (0, 24)] for a in (full, part)]
    assert ends[0] == ends[1]


def test_a_curve_goes_on_at_the_level_of_the_whole_set(both):
    for full, part in zip(*(record.trials for record in both), strict=True):
        for name in ("query", "off_target"):
            steps, losses = full.mean_losses(name)
            found = part.mean_losses(name)
            assert np.array_equal(found[0], steps)
            assert found[1] == pytest.approx(losses, abs=0.01)


def test_the_summary_is_that_of_the_whole_set(study_of):
    study = study_of({}, arms=PAIR)
    folder = study / "trials" / "near"
    full = trial_metrics(folder)
    thin(study)
    assert trial_metrics(folder) == pytest.approx(full, abs=0.01)
    assert trial_metrics(folder)["query_loss"] == full["query_loss"]


def test_steps_of_a_part_are_marked_in_tables_and_figures_and_explained(both):
    full, part = (group_arms(record.trials) for record in both)
    table = step_table(part, answer(both[1]).contrast)
    assert [row[0].text for row in table.rows] == [
        "0", f"8 {SAMPLED}", f"16 {SAMPLED}", "24", "by area",
    ]  # fmt: skip
    assert SAMPLED not in "".join(row[0].text for row in step_table(full, None).rows)
    for arms, hollow in ((full, 0), (part, 2)):
        panel = loss_panels(arms)[0]
        assert plotly_panel(panel).count('circle-open"') == hollow
        assert all(len(line.sampled) == hollow for line in panel.lines)
        assert task_picker(arms).html.count('circle-open"') == hollow
    note = sampled_note(both[1].trials)
    assert "query set 19 of 29, a trial’s mean within ±0.00" in note
    assert not sampled_note(both[0].trials)


def test_the_page_and_its_pictures_are_drawn(study_of, tmp_path):
    study = thin(study_of({"near": -0.3}, arms=PAIR, seeds=2))
    page = build_report(study).read_text()
    assert "evaluation.sample" in page
    assert f"8 {SAMPLED}" in page
    assert "evaluation.sample" not in page_of(make_study(tmp_path / "whole", {}, arms=PAIR))


def test_without_task_labels_the_items_that_were_always_measured_are_compared(study_of):
    record = read_study(thin(study_of({"near": -0.3}, arms=PAIR), unlabelled=True))
    found = answer(record).contrast.by_area
    assert (found.tasks, found.verdict) == (19, "ahead")
    assert len(record.trials[0].losses("query")[0]) == 30 * len(STEPS)
    assert "items that were always measured" in sampled_note(record.trials)


def test_a_figure_is_checked_by_all_items_where_all_were_measured(study_of):
    bands = {"near": [2.0, 3.0], "far": [2.1, 3.1]}
    figure = {"name": "end", "step": 24, "bands": bands}
    claim = {"question": "?", "arms": ["near", "far"], "figures": [figure]}
    study = study_of({"near": -0.3}, arms=PAIR, claim=claim)
    found = []
    for record in (read_study(study), read_study(thin(study))):
        (check,) = claim_checks(record.claim, group_arms(record.trials))
        found.append(check)
    assert found[0] == found[1]
