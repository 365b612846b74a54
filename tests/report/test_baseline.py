"""Several arms against a baseline: the set that decides is the claim's, the winner need not be."""

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.baseline import baseline_table
from orchestrator.report.build import page_of
from orchestrator.report.read import read_study

QUESTION = "Is anything ahead of random?"
CLAIM = {
    "question": QUESTION,
    "kind": "baseline",
    "set": "held_out",
    "arms": ["random", "nearest_first", "nearest_first_tasks"],
}


def answered(folder):
    record = read_study(folder)
    arms = group_arms(record.trials)
    return record.claim, arms, answer_of(record.claim, arms)


def answer(study_of, shifts, arms=CLAIM["arms"]):
    return answered(study_of(shifts, claim={**CLAIM, "arms": arms}, seeds=3))[2]


def test_an_arm_ahead_on_the_set_of_the_claim_is_the_answer_and_the_others_stand_behind(study_of):
    found = answer(study_of, {"nearest_first": -0.3, "nearest_first_tasks": 0.2})
    assert found.question == QUESTION
    assert found.sentence.startswith(
        "Yes: by the area under the held-out curve nearest_first was clearly ahead of random, "
        "nearest_first minus random \N{MINUS SIGN}0."
    )
    behind, corrected = found.details
    assert behind.startswith("Clearly behind random: nearest_first_tasks +0.")
    assert "corrected for 2 arms (Holm 1979)" in corrected
    assert found.contrast.a_name == "nearest_first"
    assert [*found.sets] == ["Query set", "Held-out set", "Off-target set"]


def test_without_a_clear_lead_the_answer_is_no_and_names_the_lowest(study_of):
    found = answer(study_of, {"nearest_first_tasks": -0.0005})
    assert found.sentence.startswith(
        "No: by the area under the held-out curve no arm was clearly ahead of random; the lowest, "
    )


def test_every_arm_has_a_line_with_what_it_was_fed_and_the_other_sets(study_of):
    folder = study_of({"nearest_first": -0.3}, claim=CLAIM, seeds=3)
    for path in folder.glob("trials/*/train_log.parquet"):
        log = pq.read_table(path)
        fed = pa.array([7] * len(log), pa.int64())
        pq.write_table(log.append_column("answer_tokens", fed), path)
    claim, arms, found = answered(folder)
    table = baseline_table(claim, arms, found.against)
    lines = [dict(zip(table.headers, (c.text for c in row), strict=True)) for row in table.rows]
    assert [line["arm"] for line in lines] == CLAIM["arms"]
    assert {line["answer tokens"] for line in lines} == {str(24 * 7)}
    assert {line["rows"] for line in lines} == {"384"}
    random, near, _ = lines
    assert random["difference"] == random["p"] == "–"
    assert near["difference"].startswith("\N{MINUS SIGN}0.2")
    assert near["p"] == "< 0.001"
    assert near["Query set: difference"].startswith("\N{MINUS SIGN}0.2")
    assert near["ahead on"].startswith("1")
    page = page_of(folder)
    assert "Each arm against the baseline" in page
    assert "corrected interval" in page


def test_an_arm_that_did_not_finish_is_named(study_of):
    found = answer(study_of, {"nearest_first": -0.3}, ["random", "nearest_first", "never_run"])
    assert found.sentence.startswith("Yes")
    assert "No trial finished of: never_run." in found.caveats


def test_without_the_baseline_nothing_is_said(study_of):
    found = answer(study_of, {"nearest_first": -0.3}, ["never_run", "nearest_first"])
    assert found.sentence.startswith("This study does not say: never_run shares no seed")
    assert found.against == []
