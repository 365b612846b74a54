"""Forecasts of a study that was made up, set against what its arms came to."""

import json
from dataclasses import replace

import pytest

from orchestrator.cli.commands import app
from orchestrator.core.statistics.scores import Ranked, right_of
from orchestrator.report.arms import group_arms
from orchestrator.report.build import page_of
from orchestrator.report.forecast_figures import forecast_panels
from orchestrator.report.forecast_tables import standing_sentences
from orchestrator.report.forecasts import forecast_metrics, read_forecasts, settle_forecasts
from orchestrator.report.read import read_study
from orchestrator.report.trained import trained_digest
from orchestrator.storage.ledger import Line, read_ledger
from orchestrator.storage.sealed import write_sealed
from tests.core.statistics.made_up import apart
from tests.report.conftest import STEPS, TASKS
from tests.report.pages import words_of

SHIFTS = {"nearest_first": -0.5, "random": 0.0, "farthest_first": 0.5, "nearest_first_tasks": 0.5}


def write_forecast(study, expected, *, sized=True, name="distance", sets=("query",)):
    """A forecast by arm -> the loss that is expected at every step but 0, wide by 0.2.

    A pair is as probable as its expected losses are apart: 0.9, or 0.5 where they are equal.
    """
    rows = read_study(study).trials
    arms = list(expected)
    curves = {}
    for arm in arms:
        losses = [3.45, *[expected[arm]] * (len(STEPS) - 1)]
        limits = {"low": [x - 0.1 for x in losses], "high": [x + 0.1 for x in losses]}
        curve = {"steps": STEPS, "tasks": TASKS, "losses": losses}
        curves[arm] = curve | (limits if sized else {})
    pairs = [
        {"a": a, "b": b, "probability": 0.5 if x == y else 0.9 if x < y else 0.1}
        for at, (a, x) in enumerate(expected.items())
        for b, y in list(expected.items())[at + 1 :]
    ]
    record = {
        "forecaster": name, "study": "quickstart", "made": "2024-11-22T09:00:00+00:00",
        "sized": sized, "origin": {},
        "trials": {
            row.name: {"arm": row.arm, "order_sha256": row.name.encode().hex().ljust(64, "0")}
            for row in rows if row.arm in arms
        },
        "sets": {key: {"curves": curves, "pairs": pairs} for key in sets},
    }  # fmt: skip
    path = study / "forecasts" / f"{name}.json"
    write_sealed(path, record)
    return path


def line_of(score):
    return Line("digest", "distance", "before", "trials", "", "", {"query": score})


def forecasts_of(study):
    return read_forecasts(study, read_study(study).trials)


def test_a_pair_counts_once_whatever_its_seeds_and_unclear_ones_stand_apart(study_of):
    study = study_of(SHIFTS, seeds=3)
    # Arms of one shift end within 0.01 of one another: whoever is ahead there is chance.
    write_forecast(study, {"nearest_first": 1.9, "random": 3.0, "farthest_first": 2.5})
    ((one,), faults) = forecasts_of(study)
    score = one.scores["query"]
    assert not faults
    assert (len(score.ranked), right_of(score.ranked)) == (3, 2)
    assert (len(score.clear), right_of(score.clear)) == (3, 2)
    assert {arm: len(trials) for arm, trials in score.arms.items()}["random"] == 3
    assert score.brier == pytest.approx((0.01 + 0.01 + 0.81) / 3)
    assert score.cells == 3 * 3
    assert 0 < score.naive_error < score.error


def test_a_pair_left_open_is_not_ranked_and_enters_the_brier_score(study_of):
    study = study_of(SHIFTS)
    write_forecast(study, {"farthest_first": 2.5, "nearest_first_tasks": 2.5, "random": 2.5})
    score = forecasts_of(study)[0][0].scores["query"]
    assert (score.ranked, score.undecided, score.brier) == ([], 3, 0.25)
    (sentence,) = standing_sentences("distance", [line_of(score)])
    assert "no pair of 1 study was ranked, 3 were left open" in sentence


def test_the_page_draws_expected_curves_beside_the_measured_ones(study_of):
    study = study_of(SHIFTS)
    write_forecast(study, {"nearest_first": 2.5, "random": 2.4})
    arms = group_arms(read_study(study).trials)
    (panel,) = forecast_panels(forecasts_of(study)[0], arms)
    assert [(line.arm.name, line.predicted) for line in panel.lines] == [
        ("nearest_first", False), ("nearest_first", True), ("random", False), ("random", True)
    ]  # fmt: skip
    expected = panel.lines[1]
    assert expected.y.tolist() == [3.45, 2.5, 2.5, 2.5]
    assert expected.band[1] - expected.band[0] == pytest.approx(0.2)
    assert "Query set, as distance expected it" in words_of(page_of(study))


def test_a_forecast_of_the_order_alone_has_no_errors_and_no_interval(study_of):
    study = study_of(SHIFTS)
    write_forecast(study, {"nearest_first": 0.1, "random": 0.2}, sized=False, name="proxy")
    score = forecasts_of(study)[0][0].scores["query"]
    assert score.ranked == [Ranked("nearest_first", "random", right=True, clear=True)]
    assert (score.undecided, score.cells, score.error) == (0, 0, None)
    assert score.brier == pytest.approx(0.01)
    assert "order of the arms alone" in words_of(page_of(study))


def test_what_was_foretold_as_it_came_lies_in_its_interval(study_of):
    study = study_of(SHIFTS)
    write_forecast(study, dict.fromkeys(SHIFTS, 0.0))
    exact = forecasts_of(study)[0][0]
    expected = {
        arm: curve.losses.mean(axis=1).tolist() for arm, curve in exact.measured["query"].items()
    }
    (study / "forecasts" / "distance.json").unlink()
    path = write_forecast(study, {arm: losses[-1] for arm, losses in expected.items()})
    value = json.loads(path.read_text())
    path.unlink()
    for arm, losses in expected.items():
        curve = {"losses": losses, "low": losses, "high": losses}
        value["sets"]["query"]["curves"][arm] |= curve
    del value["sha256"]
    write_sealed(path, value)
    score = forecasts_of(study)[0][0].scores["query"]
    assert score.cells == score.covered == 3 * len(SHIFTS)
    assert score.error == score.gap_error == score.relative_error == 0
    assert score.naive_error > 0.2
    assert right_of(score.ranked) == len(score.ranked) == 6


def test_a_score_is_entered_once_and_told_with_what_it_adds_up_to(study_of):
    study = study_of(SHIFTS)
    write_forecast(study, {"nearest_first": 1.6, "random": 2.1, "farthest_first": 2.6})
    foretold, _ = forecasts_of(study)
    for _ in range(2):
        settle_forecasts(study, foretold)
    (line,) = read_ledger(study.parent)
    assert line.forecast == foretold[0].record["sha256"]
    assert forecast_metrics(foretold)["forecast/distance/query/right"] == 3
    words = words_of(page_of(study))
    assert "What was forecast, and what came of it" in words
    assert (
        "distance, query set: right in 3 of 3 pairs of 1 study, 95% interval 27% to 100%" in words
    )
    assert "includes 50%, so that it may rank no better than a coin" in words
    assert "Query set 3 of 3 3 of 3 0 0.010" in words


def test_trials_that_were_fed_alike_are_known_in_any_study(study_of):
    (one, other, *_) = read_study(study_of(SHIFTS)).trials

    def digest(trial, order="a", **training):
        sections = trial.config | {"training": trial.config.get("training", {}) | training}
        summary = {"trial": "any", "order_sha256": order}
        return trained_digest(replace(trial, summary=summary, config=sections))

    assert digest(one) == digest(other)
    assert digest(one, save_model=True, workers=7) == digest(one)
    assert digest(one, learning_rate=0.5) != digest(one)
    assert digest(one, "b") != digest(one)


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        (41, "excludes 50%, it ranks better than a coin"),
        (30, "includes 50%, so that it may rank no better than a coin"),
        (9, "excludes 50%, it ranks worse than a coin"),
    ],
)
def test_a_forecaster_says_whether_its_interval_excludes_a_coin(right, verdict):
    (sentence,) = standing_sentences("distance", [line_of(apart(right, 52))])
    assert f"right in {right} of 52 pairs" in sentence
    assert verdict in sentence


def test_a_forecast_that_was_changed_is_refused_by_the_score_and_by_verify(study_of, capsys):
    study = study_of(SHIFTS)
    path = write_forecast(study, {"nearest_first": 2.5, "random": 2.4})
    path.write_text(path.read_text().replace('"probability": 0.1', '"probability": 0.9'))
    foretold, (fault,) = forecasts_of(study)
    assert not foretold
    assert "distance.json was changed since it was written" in fault
    assert "was changed since it was written" in words_of(page_of(study))
    with pytest.raises(SystemExit):
        app(["verify", str(study)])
    lines = [line for line in capsys.readouterr().out.splitlines() if "distance.json" in line]
    assert lines[0].startswith("  wrong distance.json was changed")


def test_a_forecast_that_was_sealed_anew_after_it_was_scored_is_refused(study_of, capsys):
    study = study_of(SHIFTS)
    path = write_forecast(study, {"nearest_first": 2.5, "random": 2.4})
    settle_forecasts(study, forecasts_of(study)[0])
    app(["verify", str(study)], standalone_mode=False)
    assert "sound forecasts/distance.json" in capsys.readouterr().out.replace("  ", " ")
    path.unlink()
    write_forecast(study, {"nearest_first": 2.4, "random": 2.5})
    foretold, (fault,) = forecasts_of(study)
    assert not foretold
    assert "distance.json is not the one that was scored" in fault
    with pytest.raises(SystemExit):
        app(["verify", str(study)])
    assert "sealed anew" in capsys.readouterr().out
    ledger = study.parent / "ledger.jsonl"
    ledger.write_text("{}")
    with pytest.raises(SystemExit):
        app(["verify", str(study)])
    shown = capsys.readouterr().out
    assert "line 1 is damaged" in shown


def test_a_forecast_of_another_order_than_was_trained_is_not_scored(study_of):
    study = study_of(SHIFTS)
    path = write_forecast(study, {"nearest_first": 2.5, "random": 2.4})
    value = json.loads(path.read_text())
    path.unlink()
    value["trials"]["random"]["order_sha256"] = "ab" * 32
    write_sealed(path, {key: entry for key, entry in value.items() if key != "sha256"})
    foretold, (fault,) = forecasts_of(study)
    assert not foretold
    assert "is of another order than random was trained in" in fault


def test_a_study_with_an_unfinished_trial_is_not_scored_yet(study_of):
    study = study_of(SHIFTS, failed=("random",))
    write_forecast(study, {"nearest_first": 2.5, "random": 2.4, "farthest_first": 2.6})
    foretold, _ = forecasts_of(study)
    assert foretold[0].scores == {}
    settle_forecasts(study, foretold)
    assert read_ledger(study.parent) == []
    assert "Not scored yet: 1 of its 3 trials have not finished." in words_of(page_of(study))
