"""Which trials are compared, and how the page says it."""

import pytest
import yaml

from orchestrator.report.answer import answer_of
from orchestrator.report.arms import group_arms
from orchestrator.report.claim import implied_claim, order_pairs
from orchestrator.report.contrast_tables import step_table
from orchestrator.report.read import read_study
from orchestrator.report.tables import number, signed
from tests.report.conftest import ARMS
from tests.report.curves import smooth, trial_of

NEAR, FAR = ARMS["nearest_first"], ARMS["farthest_first"]


def answer_implied(trials):
    return answer_of(implied_claim(trials), group_arms(trials))


def names(pairs):
    return [(near.name, far.name) for near, far in pairs]


def test_arms_pair_when_they_differ_in_the_order_alone(study_of):
    arms = {
        "far": FAR,
        "shuffled": {**NEAR, "order": "random"},
        "near_tasks": {**NEAR, "granularity": "task"},
        "near": NEAR,
        "far_tasks": {**FAR, "granularity": "task"},
        "nearest_part": {**NEAR, "selection": "nearest"},
    }
    pairs = order_pairs(read_study(study_of({}, arms=arms)).trials)
    assert names(pairs) == [("near", "far"), ("near_tasks", "far_tasks")]


def test_an_order_left_out_is_the_default_one(study_of):
    near = {key: value for key, value in NEAR.items() if key != "order"}
    trials = read_study(study_of({}, arms={"near": near, "far": FAR})).trials
    assert names(order_pairs(trials)) == [("near", "far")]


def test_a_random_method_is_no_nearest_first_arm(study_of):
    arms = {"shuffled": {"method": "random", "order": "nearest_first"}, "far": FAR}
    assert order_pairs(read_study(study_of({}, arms=arms)).trials) == []


@pytest.mark.parametrize(("second", "verdict"), [(-0.31, "Yes"), (0.1, "No clear difference")])
def test_seeds_pair_with_their_own_counterpart_and_must_agree(study_of, second, verdict):
    arms = {"near0": NEAR, "far0": FAR, "near1": NEAR, "far1": FAR}
    study = study_of({"near0": -0.3, "near1": second}, arms=arms)
    for name in ("near1", "far1"):
        path = study / "trials" / name / "config.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "seed": 1}))
    trials = read_study(study).trials
    assert names(order_pairs(trials)) == [("near0", "far0"), ("near1", "far1")]
    answer = answer_implied(trials)
    # the mean of both from step 8 on, nothing at step 0
    expected = (second - 0.3) / 2 * 20 / 24
    assert answer.contrast.by_area.difference == pytest.approx(expected, abs=0.01)
    assert answer.sentence.startswith(verdict)
    assert any(caveat.startswith("2 seeds on 10 tasks") for caveat in answer.caveats)


def test_a_pair_that_did_not_finish_is_left_out_and_named(study_of):
    arms = {"near": NEAR, "far": FAR}
    arms |= {f"{name}_tasks": {**arm, "granularity": "task"} for name, arm in arms.items()}
    trials = read_study(study_of({"near": 0.2}, failed=("near_tasks",), arms=arms)).trials
    answer = answer_implied(trials)
    assert answer.sentence.startswith("No:")
    assert any("near_tasks (failed)" in caveat for caveat in answer.caveats)


def test_arms_on_different_instances_are_not_called_the_same_set(study_of):
    study = study_of({}, arms={"near": NEAR, "far": FAR})
    summary = study / "summary.csv"
    text = summary.read_text()
    assert "Both arms trained on the same" in " ".join(
        answer_implied(read_study(study).trials).caveats
    )
    summary.write_text(text.replace("ab" * 32, "ef" * 32, 1))
    assert "did not train on the same" in " ".join(answer_implied(read_study(study).trials).caveats)


def test_every_step_and_the_area_have_a_row_with_the_best_trial_marked(study_of):
    trials = read_study(study_of({"random": -0.5})).trials
    table = step_table(group_arms(trials), answer_implied(trials).contrast)
    assert [row[0].text for row in table.rows] == ["0", "8", "16", "24", "by area"]
    column = table.headers.index("random")
    marked = [
        [index for index, cell in enumerate(row) if "best" in cell.kind] for row in table.rows
    ]
    assert marked == [[], *[[column]] * 4]  # nothing is best while all are the untouched model


def test_a_trial_that_broke_off_is_never_best_and_has_no_area(study_of):
    study = study_of({"random": -0.5})
    summary = study / "summary.csv"
    summary.write_text(summary.read_text().replace("random,finished", "random,failed"))
    trials = read_study(study).trials
    table = step_table(group_arms(trials), answer_implied(trials).contrast)
    column = table.headers.index("random (failed)")
    assert all("best" not in row[column].kind for row in table.rows)
    assert table.rows[-2][column].text != "–"
    assert table.rows[-1][column].text == "–"


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (1.23456, "1.235", "+1.235"),
        (-0.5, "−0.500", "−0.500"),
        (0.0412345, "0.0412", "+0.0412"),
        (-0.000123456, "−0.000123", "−0.000123"),
        (-2e-16, "0", "0"),
    ],
)
def test_a_small_number_keeps_its_digits_and_what_rounding_leaves_is_nothing(
    value, plain, with_sign
):
    assert (number(value), signed(value)) == (plain, with_sign)


def test_several_seeds_of_the_only_arm_are_all_finished(study_of):
    trials = read_study(study_of({}, arms={"random": ARMS["random"]}, seeds=2)).trials
    assert answer_implied(trials).sentence.endswith("; it is the study’s only arm.")


def test_an_arm_that_alone_finished_is_not_called_the_only_one(study_of):
    arms = {"shuffled": ARMS["random"], "near": NEAR}
    trials = read_study(study_of({}, arms=arms, failed=("near",))).trials
    assert answer_implied(trials).sentence.endswith("; no other arm finished.")


def test_an_arm_that_was_searched_by_the_queries_is_named_beside_the_headline():
    trials = [
        trial_of(smooth() - 0.1 * number, name=method, method=method)
        for number, method in enumerate(("searched", "random"))
    ]
    (note,) = [text for text in answer_implied(trials).caveats if "held-out" in text]
    assert note == (
        "The query losses of searched are what the arrangement was searched to lower, by the "
        "gradients of the answers (arrangement.method: searched): its losses on the held-out set "
        "judge it."
    )


def test_an_arm_that_has_trained_on_the_queries_is_named_beside_the_headline():
    trials = [
        trial_of(smooth() - 0.1 * number, name=name, method=method)
        for number, (name, method) in enumerate(
            {"learned": "tma", "shuffled": "random", "read": "tma"}.items()
        )
    ]
    for trial in trials[:2]:  # one section for both, of which `random` reads nothing
        trial.config["embedding"] = {"pooling": "path"}
    note = (
        "The query losses of learned are of answers that the arrangement has trained on "
        "(embedding.pooling: path): its losses on the held-out set judge it."
    )
    assert note in answer_implied(trials).caveats
    assert note not in answer_implied(trials[1:]).caveats
