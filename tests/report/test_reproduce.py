"""A figure of the paper is reproduced where the order and the losses say so, and only there."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.config import load_study
from orchestrator.errors import DataError
from orchestrator.report.arms import group_arms
from orchestrator.report.reproduce import claim_checks, figure_checks
from orchestrator.report.trial import Trial

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDIES = [path for path in EXPERIMENTS.glob("*.yaml") if "\nstudy:" in path.read_text()]

ARMS = ["nearest_first", "random"]
WIDE = {"nearest_first": [2.0, 2.6], "random": [2.6, 3.0]}  # about 2.47 and 2.67 at step 16


def check(study_of, shifts, *, arms=ARMS, failed=(), seeds=2, **figure):
    claim = {"question": "Why?", "arms": arms, "figures": [{"name": "Figure 3", **figure}]}
    (result,) = figure_checks(study_of(shifts, claim=claim, seeds=seeds, failed=failed))
    return result


def test_order_and_losses_inside_their_bands_are_confirmed(study_of):
    result = check(study_of, {"nearest_first": -0.2}, step=16, bands=WIDE)
    assert result.ordering is True
    assert result.met
    assert result.expected == result.measured == ARMS
    assert {arm: inside for arm, (*_, inside) in result.ends.items()} == dict.fromkeys(ARMS, True)
    assert result.ends["random"][1:3] == (2.6, 3.0)
    assert "stand in the expected order at step 16" in result.sentence
    assert "2 of 2 losses lie inside" in result.sentence


def test_the_loss_is_that_of_the_set_and_step_as_the_mean_over_seeds(study_of):
    query = check(study_of, {}, step=16, bands=WIDE).ends["random"][0]
    # 2.0 + 0.1 * mean of 0..9 + exp(-1.6), less one answer that was cut away
    assert query == pytest.approx(2.45 + 0.2019 + 0.1 * 4.5 / 29 + 0.0, abs=0.02)


def test_sets_and_the_last_step_are_told_apart(study_of):
    last = check(study_of, {}, set="off_target", bands=WIDE)
    assert last.ends["random"][0] == pytest.approx(3.0 + 0.45 + 0.0907, abs=0.01)
    assert last.ends["random"][3] is False
    assert not last.met
    assert "0 of 2 losses" in last.sentence


def test_another_order_is_said_to_be_another(study_of):
    result = check(study_of, {"random": -0.2}, step=16, bands=WIDE)
    assert result.ordering is False
    assert not replace(result, ends={}).met
    assert result.measured == ARMS[::-1]
    assert "do not stand in the expected order" in result.sentence


def test_a_step_that_was_not_evaluated_leaves_the_order_at_the_last_one(study_of):
    result = check(study_of, {"nearest_first": -0.2}, step=1090, bands=WIDE)
    assert result.ordering is True
    assert result.ends == {}
    assert "at step 24" in result.sentence
    assert "step 1,090 was not evaluated" in result.sentence


def test_an_arm_that_did_not_finish_leaves_the_order_open(study_of):
    result = check(study_of, {}, failed=("random-0", "random-1"), bands=WIDE)
    assert result.ordering is None
    assert result.measured == ["nearest_first"]
    assert list(result.ends) == ["nearest_first"]


def test_a_study_of_which_nothing_finished_answers_nothing(study_of):
    failed = tuple(f"{arm}-0" for arm in ARMS)
    result = check(study_of, {}, failed=failed, seeds=1, bands=WIDE)
    assert (result.ordering, result.measured, result.ends) == (None, [], {})
    assert "not answered" in result.sentence


def test_a_study_without_figures_is_refused(study_of):
    with pytest.raises(DataError, match="names no figure"):
        figure_checks(study_of({}))


# The losses of arXiv 2406.11721. At step 890 min has trained on the rows of nft, and max on fft's.
PAPER = {
    "similarity": {1080: {"nft": 0.62, "rt": 0.66, "fft": 0.70}},
    "granularity": {1090: {"instance": 0.945, "task": 1.06}},
    "tma_flan_mini": {
        890: {"min": 0.50, "nft": 0.50, "rt": 0.61, "fft": 0.84, "max": 0.84},
        1790: {"min": 0.51, "nft": 0.52, "rt": 0.58, "fft": 0.60, "max": 0.84},
    },
    "tma_sharegpt": {300: {"nft": 0.738, "rt": 0.756, "fft": 0.760}},
    "tma_no_robots": {350: {"nft": 1.298, "rt": 1.304, "fft": 1.309}},
    "turn_windows": {
        308: {
            "0-5": 0.61, "5-10": 0.62, "10-15": 0.65, "15-20": 0.67, "20-25": 0.69, "25-30": 0.68,
        }
    },
}  # fmt: skip


def paper_checks(study, losses):
    """The figures of a study of which each arm is a trial with one loss a step."""
    claim = load_study(EXPERIMENTS / f"{study}.yaml").claim
    arms = {arm: None for of_step in losses.values() for arm in of_step}
    trials = []
    for arm in arms:
        rows = [
            {"step": step, "set": "query", "id": "one", "task": "one", "loss": of_step[arm]}
            for step, of_step in losses.items()
        ]
        summary = {"trial": arm, "arm": arm, "status": "finished"}
        trials.append(Trial(summary, {"seed": 0}, {"losses": pa.Table.from_pylist(rows)}, []))
    return claim_checks(claim, group_arms(trials))


@pytest.mark.parametrize("study", PAPER)
def test_the_papers_own_losses_reproduce_every_figure_of_the_paper(study):
    checks = paper_checks(study, PAPER[study])
    assert len(checks) == len(PAPER[study])
    for check in checks:
        assert check.ordering is True, check.sentence
        assert check.ends
        assert all(inside for *_, inside in check.ends.values()), check.sentence


def test_every_study_with_bands_is_held_against_the_papers_losses():
    claims = {path.stem: yaml.safe_load(path.read_text()).get("claim") for path in STUDIES}
    figures = {name: claim.get("figures", []) for name, claim in claims.items() if claim}
    assert set(PAPER) == {
        name for name, of_claim in figures.items() if any("bands" in one for one in of_claim)
    }


@pytest.mark.parametrize("study", PAPER)
def test_losses_in_reverse_reproduce_no_figure(study):
    reverse = {
        step: dict(zip(of_step, reversed(of_step.values()), strict=True))
        for step, of_step in PAPER[study].items()
    }
    assert not any(check.ordering for check in paper_checks(study, reverse))


def test_only_seeds_that_every_arm_finished_are_averaged_and_the_others_named(study_of):
    claim = {"question": "Why?", "arms": ARMS, "figures": [{"name": "Figure 3", "bands": WIDE}]}
    study = study_of({}, claim=claim, seeds=2, failed=("random-1",))
    path = study / "trials" / "nearest_first-1" / "losses.parquet"
    table = pq.read_table(path)
    worse = pc.add(table["loss"], 5.0)
    pq.write_table(table.set_column(table.schema.get_field_index("loss"), "loss", worse), path)
    (result,) = figure_checks(study)
    assert result.ends["nearest_first"][0] == pytest.approx(2.54, abs=0.05)
    assert result.sentence.endswith("not every arm finished the same seed: nearest_first-1.")
