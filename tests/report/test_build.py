"""The report says what the data say, names what failed and needs nothing but itself."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.core.measures import MEASURES
from orchestrator.errors import DataError
from orchestrator.report.build import build_report, page_of
from orchestrator.training.outcome import mark_finished
from tests.report.conftest import ARMS, RUN, TASKS, make_study
from tests.report.pages import words_of


def build(study) -> str:
    return page_of(study)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A study in which nearest-first is 0.2 below farthest-first."""
    return build(make_study(tmp_path_factory.mktemp("report"), {"nearest_first": -0.2}))


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (-0.2, "Yes: by the area under the query-loss curve, nearest-first was ahead"),
        (0.2, "No: by the area under the query-loss curve, nearest-first was behind"),
        (None, "No clear difference (equal): by the area under the query-loss curve"),
    ],
)
def test_answer_follows_the_losses(study_of, shift, verdict):
    shifts = {"nearest_first": shift} if shift else {}
    study = study_of(shifts)
    if shift is None:  # exactly equal arms
        trials = study / "trials"
        losses = (trials / "nearest_first" / "losses.parquet").read_bytes()
        (trials / "farthest_first" / "losses.parquet").write_bytes(losses)
    words = words_of(build(study))
    assert "Did nearest-first beat farthest-first?" in words
    assert verdict in words
    assert "One seed on 10 tasks says little" in words


def test_interval_and_count_of_tasks_stand_in_the_answer(page):
    # 0.2 from step 8 on and 0 at step 0: the area is 0.2 * (4 + 16) / 24 = 0.167, give or take
    result = re.search(
        r"ahead of farthest-first by (\S+) \(95% interval (\S+) to (\S+)\), ahead on 10 of 10",
        words_of(page),
    )
    difference, low, high = map(float, result.groups())
    assert low <= difference <= high
    assert difference == pytest.approx(0.2 * 20 / 24, abs=0.01)


def test_every_figure_is_in_the_page_and_beside_it(study_of):
    path = build_report(study_of({}))
    page = path.read_text(encoding="utf-8")
    losses = ("loss-query", "loss-held_out", "loss-off_target", "train")
    for key in (*losses, "distance-0", *(f"measure-{name}" for name in MEASURES)):
        assert f'id="{key}"' in page
    pictures = {picture.stem for picture in (path.parent / "figures").glob("*.png")}
    names = {"loss_curves", "measures", "prediction", "tasks", "train_loss", "plan_distance"}
    assert pictures == names


def test_page_needs_nothing_from_outside(page):
    tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", page)
    assert tags
    addresses = re.findall(r"""\b(?:src|href)\s*=\s*["']?([^"'\s>]+)""", " ".join(tags))
    assert [address for address in addresses if not address.startswith("data:")] == []
    styles = " ".join(re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL))
    assert "@import" not in styles
    assert "url(" not in styles


def test_the_library_is_in_the_page_once(page):
    assert page.count("* plotly.js (basic - minified) v") == 1


@pytest.mark.scenario("names")
def test_names_from_the_data_are_text_and_never_tags(study_of):
    study = study_of({}, arms={**ARMS, "<b onclick=x>": {"method": "random"}})
    page = build(study)
    assert "<script>alert" not in page
    assert "<b onclick" not in page
    words = words_of(page)
    assert TASKS[-1] in words
    assert "<b onclick=x>" in words


def test_failed_trial_is_named_and_the_rest_is_shown(study_of):
    study = study_of({}, failed=("farthest_first",), sets=("query", "off_target"))
    page = build(study)
    words = words_of(page)
    assert "This study does not say" in words
    assert "1 of 4 trials did not finish: farthest_first (failed)" in words
    assert "farthest_first: losses.parquet cannot be read" in words
    assert "2.541" in words  # the others' row of the summary
    assert 'id="loss-query"' in page


def test_a_set_that_was_not_measured_is_left_out(study_of):
    page = build(study_of({}, sets=("query", "off_target")))
    assert 'id="loss-held_out"' not in page
    assert "Held-out" not in words_of(page)
    assert "held_out_loss" not in words_of(page)


def test_a_study_in_which_everything_failed_has_a_page(study_of):
    words = words_of(build(study_of({}, failed=tuple(ARMS))))
    assert "4 of 4 trials did not finish" in words


def test_trials_that_left_no_folder_are_still_named(study_of, tmp_path):
    study = study_of({})
    with (study / "summary.csv").open("a") as file:
        file.write("never_started,failed" + "," * 12 + "\n")
    assert "never_started (failed)" in words_of(build(study))


def test_without_the_two_orders_the_best_arm_is_named(study_of):
    arms = {"near": ARMS["nearest_first"], "shuffled": ARMS["random"]}
    words = words_of(build(study_of({"near": 0.1}, arms=arms)))
    assert "Which arm was best?" not in words, "the first sentence says it"
    assert words.count("shuffled was best, 2.") == 1
    assert "Every arm against the best one" in words


def test_the_two_arms_are_set_against_each_other_on_every_test_set(study_of):
    words = words_of(build(study_of({"nearest_first": -0.2})))
    _, section = words.split("nearest-first against farthest-first on each test set")
    rows = re.findall(
        r"(Query|Held-out|Off-target) set 10 tasks −0\.1[67]\d .*? nearest-first", section
    )
    assert rows == ["Query", "Held-out", "Off-target"]


def test_a_claim_about_a_section_is_the_question_of_the_page(study_of):
    claim = {"question": "Is it early?", "kind": "early"}
    words = words_of(build(study_of({}, claim=claim)))
    assert "Is it early?" in words
    assert "nearest_first made " in words
    assert "Did nearest-first beat" not in words


def test_what_was_run_is_shown_with_digests_cut(page):
    words = words_of(page)
    assert "orchestrator run experiments/quickstart.yaml" in words
    assert "torch 2.13.0" in words
    assert "fedcba987654 " in words
    assert "fedcba9876543" not in words
    assert "ababababababa" not in words


def test_facts_on_data_stand_in_their_section_and_nowhere_else(page):
    words = words_of(page)
    for fact in (
        "Training pool 8,200 41 \N{EN DASH} longer than max_chars: 7; beyond max_per_task: 1,300",
        "system message removed: 12",
        "Query set 30 10 \N{EN DASH} none none",
        "task shared with query 3",
        "0.95 1,041 0",
    ):
        assert words.count(fact) == 1
    assert "8200" not in words
    assert "pool_id" not in words
    assert "leakage: task" not in words


def test_texts_of_near_duplicates_are_cut_and_never_tags(page):
    assert "<b>this</b>" not in page
    text = "How many vowels are in <b>this</b> word? "
    pair = f"0.9987 pool/17 {text}{(159 - len(text)) * 'a'}… task 3/1 How many"
    assert pair in words_of(page)


def test_a_run_that_tells_nothing_of_its_data_has_no_section_on_it(study_of):
    study = study_of({})
    (study / "run.json").write_text("{}")
    words = words_of(build(study))
    assert "Training pool" not in words
    assert "Leakage" not in words


def test_a_pool_without_leakage_is_said_to_have_none(study_of):
    study = study_of({})
    data = [{**RUN["data"][0], "leakage": {}}]
    (study / "run.json").write_text(json.dumps({**RUN, "data": data, "near_duplicates": []}))
    words = words_of(build(study))
    assert "No row of the pool shares a task or a prompt with the test sets" in words
    assert "Near duplicates" not in words


def test_a_trial_without_measures_is_left_out_and_named(study_of):
    study = study_of({})
    (study / "trials" / "random" / "measures.parquet").unlink()
    assert "Not measured: random." in words_of(build(study))
    for path in study.glob("trials/*/measures.parquet"):
        path.unlink()
    assert "How near the training data has come" not in words_of(build(study))


def test_the_note_of_a_plan_is_shown_with_its_trials(study_of):
    study = study_of({})
    for name in ("nearest_first", "farthest_first"):
        path = study / "trials" / name / "plan.parquet"
        plan = pq.read_table(path).replace_schema_metadata({"note": "the <exact> solver"})
        pq.write_table(plan, path)
    assert "nearest_first, farthest_first: the <exact> solver." in words_of(build(study))


def test_instances_without_a_loss_are_counted(page):
    assert "Query set: 1 of 30 instances" in words_of(page)


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"summary\.csv"):
        build_report(tmp_path)


def test_a_table_that_was_changed_after_its_trial_ended_is_told_on_the_page(study_of):
    folder = study_of({"nearest_first": -0.3})
    trial = folder / "trials" / "random"
    mark_finished(trial, {}, {"key": "k"}, there=["plan.parquet", "losses.parquet"])
    assert "was changed after its end" not in page_of(folder)
    losses = pq.read_table(trial / "losses.parquet").to_pylist()
    lower = [row | {"loss": row["loss"] and row["loss"] - 3} for row in losses]
    pq.write_table(pa.Table.from_pylist(lower), trial / "losses.parquet")
    assert "random: losses.parquet was changed after its end" in page_of(folder)
