"""A claim is answered by its ends, its order and its neighbours, whatever the data say."""

import numpy as np
import pytest
import yaml

from orchestrator.core.analysis import TaskCurves
from orchestrator.errors import DataError
from orchestrator.report.arms import contrast, group_arms
from orchestrator.report.claim import answer_claim, clear_steps, neighbour_table
from orchestrator.report.read import read_study

QUESTION = "Is nearest-first best?"
EXPECTED = ["nearest_first", "nearest_first_tasks", "random"]
IN_ORDER = {"nearest_first": -0.3, "nearest_first_tasks": -0.1}


def answer(study_of, shifts, expected=EXPECTED, **options):
    claim = {"question": QUESTION, "arms": expected}
    record = read_study(study_of(shifts, claim=claim, **options))
    return answer_claim(record.claim, group_arms(record.trials))


def test_the_headline_sets_the_first_arm_against_the_last_over_tasks_and_seeds(study_of):
    found = answer(study_of, IN_ORDER, seeds=2)
    assert found.question == QUESTION
    assert found.sentence.startswith("Yes")
    assert "nearest_first was ahead of random by" in found.sentence
    assert found.contrast.by_area.seeds == 2
    assert any("covers the choice of tasks and of seeds" in caveat for caveat in found.caveats)


def test_the_answer_is_no_where_the_last_arm_is_ahead(study_of):
    found = answer(study_of, {"random": -0.3})
    assert found.sentence.startswith("No:")
    assert "nearest_first was behind random by" in found.sentence


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
    found = answer(study_of, shifts)
    assert found.sentence.startswith(f"{verdict}: ")
    assert words in found.details[1]


def test_half_way_and_the_end_are_both_stated(study_of):
    timing = answer(study_of, IN_ORDER).details[0]
    assert "half-way (step 8) −0.3" in timing or "half-way (step 8) −0.29" in timing
    assert "at the end (step 24)" in timing


def test_two_arms_need_no_sentence_about_their_order(study_of):
    assert len(answer(study_of, IN_ORDER, ["nearest_first", "random"]).details) == 1


def test_neighbours_are_clear_at_the_steps_at_which_they_differ(study_of):
    found = answer(study_of, {"nearest_first": -0.3, "nearest_first_tasks": -0.3})
    table = neighbour_table(found.neighbours)
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [EXPECTED[:2], EXPECTED[1:]]
    assert table.rows[1][-1].text == "8 to 24"
    assert "8 to 24" not in table.rows[0][-1].text


def test_steps_at_which_the_expected_arm_is_behind_are_said_to_be(study_of):
    found = answer(study_of, {"nearest_first": 0.3}, EXPECTED[:2])
    assert clear_steps(found.neighbours[0]) == "behind at 8 to 24"


def test_an_end_that_did_not_finish_leaves_the_question_open(study_of):
    found = answer(study_of, IN_ORDER, failed=("random",))
    assert found.sentence.startswith("This study does not say")
    assert found.caveats == ["No trial finished of: random."]
    assert len(found.neighbours) == 1  # the others are still compared


def test_an_arm_in_the_middle_that_did_not_finish_is_named_and_skipped(study_of):
    found = answer(study_of, IN_ORDER, failed=("nearest_first_tasks",))
    assert found.sentence.startswith("Yes")
    assert "No trial finished of: nearest_first_tasks." in found.caveats
    assert [(n.a_name, n.b_name) for n in found.neighbours] == [("nearest_first", "random")]


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
