"""The sections on early generalisation, sudden drops, prediction and single tasks."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.report.arms import group_arms
from orchestrator.report.build import page_of
from orchestrator.report.early import descents, early_table, set_changes, set_table
from orchestrator.report.picker import task_picker
from orchestrator.report.prediction import forecast_table, prediction
from orchestrator.report.read import read_study
from orchestrator.report.sudden import drop_table, match_table, sudden_drops
from tests.report.curves import TASKS, long_smooth, planted, smooth, trial_of


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_elbow_and_90_percent_are_those_of_the_curve_with_their_range_over_seeds():
    early, late = np.ones((6, 2)), np.ones((6, 2))
    early[0] = late[:3] = 3.0
    table = early_table(descents(group_arms([trial_of(early), trial_of(late, seed=1)])))
    (row,) = texts(table)
    assert row[0] == "a"
    assert row[3] == "20 (10–30)"
    assert row[4:] == ["50", "2.000"]
    assert texts(early_table(descents(group_arms([trial_of(early)]))))[0][1:4] == [
        "10",
        "100%",
        "10",
    ]


def test_a_curve_that_never_falls_has_neither():
    rising = 4 - smooth()
    assert texts(early_table(descents(group_arms([trial_of(rising)]))))[0][2:4] == ["–", "–"]


def test_harm_to_a_set_is_named():
    rising = smooth()[::-1].copy()
    trial = trial_of(rising, sets=("query", "off_target"))
    rows = texts(set_table(set_changes(group_arms([trial]))))
    assert [row[1] for row in rows] == ["Query set", "Off-target set"]
    assert [row[6] for row in rows] == ["rose", "rose"]
    assert rows[1][7] == rows[0][7] == f"+{rising[-1, 0] - rising[0, 0]:.3f} at step 50"
    fallen = texts(set_table(set_changes(group_arms([trial_of(smooth())]))))[0]
    assert fallen[6:] == ["fell", "none"]


@pytest.mark.parametrize(("match", "matched"), [(True, "8"), (False, "0")])
def test_drops_are_matched_with_the_rows_that_came_near(match, matched):
    rows = sudden_drops([trial_of(*planted(match))])
    assert [len(row.drops) for row in rows] == [8]
    (row,) = texts(match_table(rows))
    assert row[:5] == ["a-0", "8", "8", matched, "2.0"]  # four steps, two tasks each
    assert (rows[0].coincidence.p_value < 0.05) == match
    assert {tuple(row[2:4]) for row in texts(drop_table(rows))} == {
        (f"between steps {step - 10} and {step}", "1.000") for step in (20, 50, 80, 110)
    }


def test_smooth_curves_have_the_section_only_under_cluster():
    assert sudden_drops([trial_of(long_smooth())]) == []
    clustered = trial_of(long_smooth(), method="cluster")
    assert texts(match_table(sudden_drops([clustered])))[0][1] == "0"


def test_where_too_little_was_measured_no_drop_is_looked_for():
    losses, _ = planted(match=True)
    few_steps, few_tasks = trial_of(losses[:11], method="cluster"), trial_of(losses[:, :5])
    rows = sudden_drops([few_steps, few_tasks])
    assert [row.obstacle for row in rows] == ["too few evaluations", "too few tasks"]
    assert [row[1] for row in texts(match_table(rows))] == [row.obstacle for row in rows]
    assert not any(row.drops for row in rows)


def related(rng):
    """Losses that drop by as much as the nearest row has come near."""
    measures = -np.sort(rng.uniform(0.1, 0.9, (5, len(TASKS))), axis=0)
    losses = np.vstack([np.full(len(TASKS), 5.0), 5 + 2 * measures])
    return losses, measures


def test_where_distance_tells_the_loss_it_beats_the_naive_guess_for_every_arm():
    rng = np.random.default_rng(0)
    arms = group_arms([trial_of(*related(rng), name=name) for name in "abc"])
    result = prediction(arms)
    assert [row[0] for row in texts(forecast_table(result.forecasts))] == [
        "a fifth of the tasks at a time",
        *"abc",
    ]
    assert {row[-1] for row in texts(forecast_table(result.forecasts))} == {"better"}
    fit, curves = result.panels
    assert [line.predicted for line in curves.lines] == [False, True] * 3
    for line in fit.lines:
        np.testing.assert_allclose(line.y, -2 * line.x, atol=1e-2)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_fewer_than_three_arms_predict_tasks_only(names):
    rng = np.random.default_rng(0)
    result = prediction(group_arms([trial_of(*related(rng), name=name) for name in names]))
    assert len(result.forecasts) == len(result.panels) == 1


def test_an_arm_is_not_foretold_from_one_that_cannot_differ_from_it():
    rng = np.random.default_rng(0)
    trials = [trial_of(*related(rng), name=name) for name in "abc"]
    twin = replace(trials[0], summary=trials[0].summary | {"arm": "d", "trial": "d-0"})
    twin.summary["twin_of"] = trials[0].name
    result = prediction(group_arms([*trials, twin]))
    assert [*result.forecasts][1:] == [*"abc"]


def test_without_measures_or_with_few_tasks_nothing_is_predicted():
    losses, measures = related(np.random.default_rng(0))
    assert prediction(group_arms([trial_of(losses)])) is None
    few = FEWEST_TASKS - 1
    assert prediction(group_arms([trial_of(losses[:, :few], measures[:, :few])])) is None


def test_the_picker_holds_every_task_of_every_line():
    losses, measures = related(np.random.default_rng(0))
    picker = task_picker(group_arms([trial_of(losses, measures), trial_of(smooth(), name="b")]))
    assert picker.tasks == TASKS
    values = np.array(picker.values[3][:2], dtype=object)
    np.testing.assert_allclose(list(values[0]), losses[:, 3], atol=1e-4)
    np.testing.assert_allclose(list(values[1]), measures[:, 3], atol=1e-4)
    assert [len(lines) for lines in picker.values] == [3] * len(TASKS)


def test_the_page_carries_the_picker_as_data_and_never_as_tags(study_of):
    page = page_of(study_of({}, seeds=2))
    data = re.search(r'<script type="application/json" id="tasks">(.*?)</script>', page, re.DOTALL)
    values = json.loads(data.group(1))
    assert len(values) == page.count("<option>") == 10
    assert "&lt;script&gt;alert(1)&lt;/script&gt;</option>" in page


def test_several_seeds_have_lines_of_their_own_among_the_losses_and_bands_elsewhere(study_of):
    from orchestrator.report.drawing import plotly_panel
    from orchestrator.report.figures import loss_panels, train_panel

    def drawn(arms):
        """Thin lines and bands of a panel of losses and of another."""
        pages = [plotly_panel(panel) for panel in (loss_panels(arms)[0], train_panel(arms))]
        return [(page.count('"trial":'), page.count('"fill":"toself"')) for page in pages]

    arms = group_arms(read_study(study_of({}, seeds=3)).trials)
    assert drawn(arms) == [(3 * len(arms), 0), (0, len(arms))]
    arms[0].trials[:] = arms[0].trials[:1]
    assert drawn(arms[:1]) == [(0, 0), (0, 0)]
