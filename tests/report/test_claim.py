"""A claim is answered by its ends, its order and its neighbours, whatever the data say."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.config.claim import Claim
from orchestrator.core.statistics.analysis import TaskCurves
from orchestrator.core.statistics.comparison import FEWEST_TASKS
from orchestrator.errors import DataError
from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.contrast import contrast
from orchestrator.report.contrast_tables import (
    clear_steps,
    neighbour_table,
    set_gap_table,
    step_table,
)
from orchestrator.report.read import read_study
from orchestrator.report.tables import signed

QUESTION = "Is nearest-first best?"
EXPECTED = ["nearest_first", "nearest_first_tasks", "random"]
IN_ORDER = {"nearest_first": -0.3, "nearest_first_tasks": -0.1}


def answer(study_of, shifts, expected=EXPECTED, **options):
    claim = {"question": QUESTION, "arms": expected}
    record = read_study(study_of(shifts, claim=claim, **options))
    return answer_of(record.claim, group_arms(record.trials))


def test_the_headline_sets_the_first_arm_against_the_last_over_tasks_and_seeds(study_of):
    result = answer(study_of, IN_ORDER, seeds=2)
    assert result.question == QUESTION
    assert result.sentence.startswith("Yes")
    assert "nearest_first was ahead of random by" in result.sentence
    assert result.contrast.by_area.seeds == 2
    assert any("covers the choice of tasks and of seeds" in caveat for caveat in result.caveats)


def test_the_answer_is_no_where_the_last_arm_is_ahead(study_of):
    result = answer(study_of, {"random": -0.3})
    assert result.sentence.startswith("No:")
    assert "nearest_first was behind random by" in result.sentence


@pytest.mark.parametrize(
    ("shifts", "verdict", "words"),
    [
        (IN_ORDER, "Yes", "The means of all arms stand in the expected order: nearest_first 2"),
        (
            {"nearest_first": -0.2, "nearest_first_tasks": -0.3},
            "In part",
            "do not stand in the expected order (nearest_first, nearest_first_tasks, random)",
        ),
    ],
)
def test_the_whole_order_of_the_means_is_stated_and_counts(study_of, shifts, verdict, words):
    result = answer(study_of, shifts)
    assert result.sentence.startswith(f"{verdict}: ")
    assert words in result.details[2]


def test_yes_takes_each_arm_to_be_clear_of_the_next(study_of):
    """In order, and the first clear of the last, but the first two are the same."""
    study = study_of({**IN_ORDER, "nearest_first_tasks": -0.3}, seeds=1)
    for name in ("losses", "measures"):
        path = study / "trials" / "nearest_first_tasks-0" / f"{name}.parquet"
        path.write_bytes((study / "trials" / "nearest_first-0" / f"{name}.parquet").read_bytes())
    claim = Claim(question=QUESTION, arms=EXPECTED)
    result = answer_of(claim, group_arms(read_study(study).trials))
    assert result.sentence.startswith("In part: ")
    assert "clearly ahead of the next: nearest_first_tasks and random" in result.details[1]
    assert "not clear (equal): nearest_first and nearest_first_tasks" in result.details[1]
    assert "stand in the expected order" in result.details[2]


def test_a_lost_trial_takes_its_seed_from_all_arms_and_is_named(study_of):
    """Seed 1 is far worse; without the last arm's the others must not be blamed for theirs."""
    study = study_of(IN_ORDER, seeds=2, failed=("random-1",))
    for arm in EXPECTED[:2]:
        path = study / "trials" / f"{arm}-1" / "losses.parquet"
        table = pq.read_table(path)
        worse = pc.add(table["loss"], 5.0)
        pq.write_table(table.set_column(table.schema.get_field_index("loss"), "loss", worse), path)
    arms = group_arms(read_study(study).trials)
    result = answer_of(Claim(question=QUESTION, arms=EXPECTED), arms)
    assert result.sentence.startswith("Yes: ")
    assert result.contrast.by_area.seeds == 1
    assert "stand in the expected order: nearest_first 2" in result.details[2]
    (note,) = (caveat for caveat in result.caveats if caveat.startswith("Left out"))
    assert note.endswith(": nearest_first-1, nearest_first_tasks-1.")
    table = step_table(arms, result.contrast)
    area = dict(zip(table.headers, (cell.text for cell in table.rows[-1]), strict=True))
    gap = float(area["nearest_first"]) - float(area["random"])
    assert gap == pytest.approx(result.contrast.by_area.difference, abs=0.002)


def test_arms_of_other_lengths_are_compared_up_to_their_last_common_step(study_of):
    """Losses fall from step to step: a shorter arm must not look worse for it."""
    study = study_of({}, seeds=1)
    for arm in (path for path in (study / "trials").iterdir() if path.name != "random-0"):
        (arm / "losses.parquet").write_bytes(
            (study / "trials" / "random-0" / "losses.parquet").read_bytes()
        )
    path = study / "trials" / "nearest_first-0" / "losses.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(pc.field("step") <= 16), path)
    arms = group_arms(read_study(study).trials)
    result = answer_of(Claim(question=QUESTION, arms=EXPECTED), arms)
    assert result.contrast.by_area.difference == 0
    assert "up to the last common step, 16" in result.sentence
    assert "at the last common step (step 16)" in result.details[0]
    assert "at the last common step" in neighbour_table(result.neighbours).headers
    table = step_table(arms, result.contrast)
    assert [row[0].text for row in table.rows][-2:] == ["24", "by area to step 16"]
    areas = {cell.text for cell in table.rows[-1][-len(arms) :]}
    assert len(areas) == 1
    assert "at the end of its own budget" in result.headline
    assert "up to the last common step, 16" in result.winner.warning


def test_the_ends_are_compared_on_every_test_set_and_few_tasks_are_never_clear(study_of):
    result = answer(study_of, IN_ORDER)
    table = set_gap_table(result.sets)
    rows = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert list(rows) == ["Query set", "Held-out set", "Off-target set"]
    assert {row[-1] for row in rows.values()} == {"nearest_first"}
    assert rows["Query set"][2] == signed(result.contrast.by_area.difference)
    assert rows["Held-out set"][2] != rows["Off-target set"][2] != rows["Query set"][2]
    few = replace(result.contrast.by_area, tasks=FEWEST_TASKS - 1, verdict="no clear difference")
    few = replace(result.contrast, by_area=few)
    (row,) = set_gap_table({"Query set": few}).rows
    assert row[-1].text == f"not clear: fewer than {FEWEST_TASKS} tasks"
    assert set_gap_table({}) is None


def test_where_another_axis_renamed_the_arms_the_claim_stays_open_and_says_why(study_of):
    result = answer(study_of, IN_ORDER, ["min", "max"])
    assert result.sentence.startswith("This study does not say: the claim is of the arms min, max")
    assert "nearest_first_tasks" in result.sentence
    assert result.headline.startswith("nearest_first was best, 2")


def test_the_middle_and_the_end_are_both_stated(study_of):
    timing = answer(study_of, IN_ORDER).details[0]
    assert "at step 8 of 24 −0.3" in timing or "at step 8 of 24 −0.29" in timing
    assert "at the end (step 24)" in timing


def test_two_arms_need_no_sentence_about_their_order(study_of):
    assert len(answer(study_of, IN_ORDER, ["nearest_first", "random"]).details) == 1


def test_neighbours_are_clear_at_the_steps_at_which_they_differ(study_of):
    result = answer(study_of, {"nearest_first": -0.3, "nearest_first_tasks": -0.3})
    table = neighbour_table(result.neighbours)
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [EXPECTED[:2], EXPECTED[1:]]
    assert table.rows[1][-1].text == "8 to 24"
    assert "8 to 24" not in table.rows[0][-1].text


def test_steps_at_which_the_expected_arm_is_behind_are_said_to_be(study_of):
    result = answer(study_of, {"nearest_first": 0.3}, EXPECTED[:2])
    assert clear_steps(result.neighbours[0]) == "behind at 8 to 24"


def test_an_end_that_did_not_finish_leaves_the_question_open(study_of):
    result = answer(study_of, IN_ORDER, failed=("random",))
    assert result.sentence.startswith("This study does not say")
    assert result.caveats == ["No trial finished of: random."]
    assert len(result.neighbours) == 1  # the others are still compared


def test_an_arm_in_the_middle_that_did_not_finish_is_named_and_skipped(study_of):
    result = answer(study_of, IN_ORDER, failed=("nearest_first_tasks",))
    assert result.sentence.startswith("In part")  # what was claimed of it is open
    assert "No trial finished of: nearest_first_tasks." in result.caveats
    assert [(n.a_name, n.b_name) for n in result.neighbours] == [("nearest_first", "random")]


def test_a_claim_that_is_none_is_refused_with_its_key(study_of):
    study = study_of({})
    (study / "study.yaml").write_text(yaml.safe_dump({"claim": {"question": "Why?", "arms": 3}}))
    with pytest.raises(DataError, match=r"section claim: .*list"):
        read_study(study)


def test_many_stretches_of_clear_steps_are_counted():
    tasks = np.linspace(0, 1, 8)
    steps = np.arange(11)
    level = TaskCurves(steps, list("abcdefgh"), np.zeros((11, 8)) + tasks)
    ahead = level._replace(losses=level.losses - (steps % 2)[:, None])
    assert clear_steps(contrast("a", "b", [(ahead, level)])) == "5 of 11, the first is 1"
    assert clear_steps(contrast("a", "b", [(level, level)])) == "none"
