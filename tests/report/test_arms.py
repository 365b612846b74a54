"""Trials that differ in their seed alone are one arm, drawn and compared as one."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.report.arms import group_arms, query_curves, stack
from orchestrator.report.contrast import arm_contrast, contrast
from orchestrator.report.figures import loss_panels
from orchestrator.report.read import read_study
from orchestrator.report.trial import Trial
from tests.report.conftest import ARMS, STEPS


def arms_of(study):
    return group_arms(read_study(study).trials)


def test_seeds_make_one_arm_and_older_summaries_one_a_trial(study_of):
    assert [arm.name for arm in arms_of(study_of({}))] == list(ARMS)
    arms = arms_of(study_of({}, seeds=3))
    assert [arm.name for arm in arms] == list(ARMS)
    assert [arm.seeds for arm in arms] == [[("0",), ("1",), ("2",)]] * len(ARMS)


def test_an_arm_is_the_mean_of_its_finished_trials_with_their_range_as_band(study_of):
    study = study_of({}, seeds=3, failed=("random-1",))
    panel = loss_panels(arms_of(study))[0]
    (line,) = (line for line in panel.lines if line.arm.name == "random")
    single = []
    for seed in (0, 2):
        table = pq.read_table(study / "trials" / f"random-{seed}" / "losses.parquet").to_pandas()
        query = table[table["set"] == "query"]
        single.append(query.groupby("step")["loss"].mean().to_numpy())
    np.testing.assert_allclose(line.y, np.mean(single, axis=0))
    np.testing.assert_allclose(line.band, [np.min(single, axis=0), np.max(single, axis=0)])


def test_an_arm_of_one_seed_has_no_band_and_no_single_trials(study_of):
    lines = loss_panels(arms_of(study_of({})))[0].lines
    assert all(line.band is None and not line.trials for line in lines)


def test_single_trials_keep_their_place_in_the_arm_where_another_has_no_loss(study_of):
    study = study_of({}, seeds=3)
    path = study / "trials" / "random-0" / "losses.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.not_equal(table["set"], "held_out")), path)
    query, held_out, _ = loss_panels(arms_of(study))
    places = [
        [*line.trials] for panel in (query, held_out) for line in panel.lines
        if line.arm.name == "random"
    ]  # fmt: skip
    assert places == [[0, 1, 2], [1, 2]]
    for line in query.lines:
        ys = [y for _, y in line.trials.values()]
        np.testing.assert_allclose(np.mean(ys, axis=0), line.y)
        np.testing.assert_allclose(np.max(ys, axis=0), line.band[1])


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([(0, 7), (0, 8)], ["seed 7", "seed 8"]),
        ([(0, 7), (1, 7)], ["seed 0", "seed 1"]),
        ([(0, 7), (1, 8)], ["seed 0, 7", "seed 1, 8"]),
        ([(3, 3), (4, 4)], ["seed 3", "seed 4"]),
    ],
)
def test_trials_of_an_arm_are_told_apart_by_the_seeds_that_differ(seeds, words):
    trials = [
        Trial(
            {"trial": str(seed), "arm": "a", "status": "finished", "data.pool.seed": str(pool)},
            {"seed": seed}, {}, [],
        )
        for seed, pool in seeds
    ]  # fmt: skip
    (arm,) = group_arms(trials)
    assert arm.seed_words == words


def test_an_arm_of_which_nothing_finished_is_shown_with_its_status(study_of):
    failed = ("random-0", "random-1")
    arms = {arm.name: arm for arm in arms_of(study_of({}, seeds=2, failed=failed))}
    assert arms["random"].label == "random (failed)"
    assert arm_contrast(arms["random"], arms["nearest_first"]) is None


def test_only_seeds_that_both_arms_finished_are_compared(study_of):
    study = study_of({"nearest_first": -0.2}, seeds=3, failed=("farthest_first-0",))
    arms = {arm.name: arm for arm in arms_of(study)}
    result = arm_contrast(arms["nearest_first"], arms["farthest_first"])
    assert result.by_area.seeds == 2
    assert result.by_area.difference == pytest.approx(-0.2 * 20 / 24, abs=0.01)


def test_arms_without_a_common_seed_are_not_compared(study_of):
    failed = ("farthest_first-0", "nearest_first-1")
    arms = {arm.name: arm for arm in arms_of(study_of({}, seeds=2, failed=failed))}
    assert arm_contrast(arms["nearest_first"], arms["farthest_first"]) is None


def curves(steps, tasks):
    values = np.add.outer(np.array(steps), np.arange(len(tasks)) / 10)
    return TaskCurves(np.array(steps), tasks, values)


def test_curves_are_stacked_where_they_have_steps_and_tasks_in_common():
    steps, tasks, cells = stack([curves([0, 8, 16], ["a", "b"]), curves([8, 16, 24], ["b", "c"])])
    assert (steps.tolist(), tasks) == ([8, 16], ["b"])
    np.testing.assert_allclose(cells[:, :, 0], [[8.1, 16.1], [8.0, 16.0]])
    assert stack([curves([0], ["a"]), curves([8], ["a"])]) is None
    assert stack([curves([0], ["a"]), curves([0], ["b"])]) is None


@pytest.mark.parametrize(
    ("steps", "middle", "words"),
    [
        ([0, 4, 9, 20], 9, "half-way"),
        ([0, 3, 6, 9], 3, "at step 3 of 9"),
        ([0, 2, 20], 2, "at step 2 of 20"),
        ([0, 20], None, "half-way"),
        ([0], None, "half-way"),
    ],
)
def test_only_a_step_at_half_of_training_is_called_half_way(steps, middle, words):
    both = curves(steps, ["a", "b"])
    result = contrast("a", "b", [(both, both)])
    assert (result.middle, result.middle_words, result.end) == (middle, words, steps[-1])


def test_half_of_what_two_arms_share_is_not_half_way():
    pair = curves([0, 8, 16], ["a", "b"]), curves([0, 8, 16, 24], ["a", "b"])
    assert contrast("a", "b", [pair]).middle_words == "at step 8 of 16"


def test_mean_curves_keep_every_evaluated_step(study_of):
    arm = arms_of(study_of({}, seeds=2))[0]
    assert query_curves(arm).steps.tolist() == STEPS


LOSSES = {("a", "0"): 2.0, ("a", "1"): 3.0, ("b", "0"): 1.0, ("b", "1"): 7.0}


def measured(arm, seed, loss, key):
    """A finished trial with losses of four tasks at steps 0 and 1."""
    lines = [
        {"step": step, "set": "query", "task": f"task-{task}", "loss": loss + task - step}
        for step in (0, 1)
        for task in range(4)
    ]
    summary = {"trial": f"{arm}-{seed}", "arm": arm, "status": "finished", key: seed}
    config = {"seed": int(seed)} if key == "seed" else {"seed": 0}
    return Trial(summary, config, {"losses": pa.Table.from_pylist(lines)}, [])


@pytest.mark.parametrize("key", ["seed", "data.pool.seed"])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_difference_is_that_of_the_means_whichever_seed_is_swept(key, backwards):
    trials = [measured(arm, seed, loss, key) for (arm, seed), loss in LOSSES.items()]
    if backwards:
        trials = [*trials[:2], *trials[:1:-1]]
    result = arm_contrast(*group_arms(trials))
    assert result.by_area.seeds == 2
    assert result.by_area.difference == pytest.approx((2 + 3) / 2 - (1 + 7) / 2)
    assert result.a.losses.mean() - result.b.losses.mean() == pytest.approx(
        result.by_area.difference
    )
