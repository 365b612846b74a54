"""The table of measures and losses says how the tasks' ranks agree, and over how many tasks."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.measures import MEASURES
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.report.arms import group_arms
from orchestrator.report.measures import correlation_table, correlations, measure_panels
from orchestrator.report.trial import Trial

DROPS = [0.3, 0.1, 0.5, 0.2, 0.7, 0.6, 0.4]


def trial_of(drops, measures, step=8, name="a"):
    """A finished trial whose task t drops by drops[t] from a level of its own until `step`."""
    tasks = [f"task {index}" for index in range(len(drops))]
    losses = [
        {"step": at, "set": "query", "task": task, "loss": 9.0 - index - (drop if at else 0)}
        for at in (0, step)
        for index, (task, drop) in enumerate(zip(tasks, drops, strict=True))
    ]
    rows = [
        # A step without losses, and the whole set: neither may count.
        *({"step": 4, "task": task, **dict.fromkeys(MEASURES, 0.0)} for task in tasks),
        {"step": step, "task": None, **dict.fromkeys(MEASURES, 99.0)},
        *(
            {"step": step, "task": task, **dict.fromkeys(MEASURES, value)}
            for task, value in reversed(list(zip(tasks, measures, strict=True)))
        ),
    ]
    tables = {"losses": pa.Table.from_pylist(losses), "measures": pa.Table.from_pylist(rows)}
    return Trial({"trial": name, "arm": "a", "status": "finished"}, {}, tables, [])


def test_a_panel_draws_the_mean_over_tasks_and_not_the_whole_set():
    panels = measure_panels(group_arms([trial_of(DROPS, DROPS)]))
    assert len(panels) == len(MEASURES)
    for panel in panels:
        (line,) = panel.lines
        assert line.x.tolist() == [4, 8]
        assert line.y.tolist() == pytest.approx([0.0, np.mean(DROPS)])


def cells(trial):
    (row,) = correlation_table(correlations(group_arms([trial]))).rows
    return [cell.text for cell in row]


@pytest.mark.parametrize(("sign", "expected"), [(-1, "−1.000"), (1, "+1.000")])
def test_nearer_tasks_that_drop_more_correlate_negatively(sign, expected):
    measures = [sign * drop**3 for drop in DROPS]  # ranks alone count
    row = cells(trial_of(DROPS, measures))
    assert row == ["a", "7", "±0.800", *[expected] * len(MEASURES)]


@given(st.permutations(range(len(DROPS))))
def test_correlation_is_that_of_the_squared_rank_differences(ranks):
    count = len(DROPS)
    differences = np.argsort(np.argsort(DROPS)) - np.array(ranks)
    expected = 1 - 6 * (differences**2).sum() / (count * (count**2 - 1))
    (row,) = correlations(group_arms([trial_of(DROPS, [float(rank) for rank in ranks])]))
    assert row.rho == pytest.approx(dict.fromkeys(MEASURES, expected))


def test_a_measure_that_is_the_same_for_every_task_has_no_correlation():
    assert cells(trial_of(DROPS, [0.5] * len(DROPS)))[3:] == ["–"] * len(MEASURES)


def test_an_arm_is_the_mean_of_its_seeds():
    halves = [trial_of(np.array(DROPS) + sign * np.arange(7), DROPS, name=str(sign))
              for sign in (-1, 1)]  # fmt: skip
    (row,) = correlations(group_arms(halves))
    assert row.rho == pytest.approx(dict.fromkeys(MEASURES, 1.0))


def test_few_tasks_make_no_row():
    few = FEWEST_TASKS - 1
    assert correlations(group_arms([trial_of(DROPS[:few], DROPS[:few])])) == []
    assert len(correlations(group_arms([trial_of(DROPS[: few + 1], DROPS[: few + 1])]))) == 1
    assert correlation_table([]) is None


@pytest.mark.parametrize("table", ["losses", "measures"])
def test_a_trial_that_lacks_a_table_makes_no_row(table):
    trial = trial_of(DROPS, DROPS)
    del trial.tables[table]
    assert correlations(group_arms([trial])) == []
