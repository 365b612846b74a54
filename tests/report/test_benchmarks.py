"""Benchmarks stand beside the losses, and the report says where they rank arms the other way."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.report.arms import group_arms
from orchestrator.report.benchmarks import Score, benchmark_table, disagreements, scores_of
from orchestrator.report.build import page_of
from orchestrator.report.read import read_study
from orchestrator.storage.files import BENCHMARKS_SCHEMA
from tests.report.conftest import ARMS
from tests.report.pages import words_of

TWO = {name: ARMS[name] for name in ("nearest_first", "farthest_first")}


def line(value, task="quiz", step=24, error=0.01, better=True, metric="acc"):
    return {"step": step, "benchmark": task, "task": task, "metric": metric, "value": value,
            "stderr": error, "n": 100, "higher_is_better": better}  # fmt: skip


def write(study, trial, *lines):
    table = pa.Table.from_pylist(list(lines), schema=BENCHMARKS_SCHEMA)
    pq.write_table(table, study / "trials" / trial / "benchmarks.parquet")


@pytest.fixture
def study(study_of):
    """Nearest first has the clearly lower losses."""
    return study_of({"farthest_first": 0.3}, arms=TWO)


def arms_of(study):
    return group_arms(read_study(study).trials)


def test_a_benchmark_that_ranks_two_arms_against_their_loss_is_named(study):
    write(study, "nearest_first", line(0.5), line(0.7, "riddles"), line(9.0, "text", better=False))
    write(study, "farthest_first", line(0.6), line(0.6, "riddles"), line(9.5, "text", better=False))
    count, sentence = disagreements(arms_of(study))
    assert count == (
        "Of 3 comparisons of two arms in which both held-out loss and benchmark differ by more "
        "than their errors, 1 ranks the arms the other way round."
    )
    assert sentence.startswith(
        "quiz (acc) ranks farthest_first above nearest_first (0.600 against 0.500), the loss ranks "
        "it below ("
    )
    words = words_of(page_of(study))
    assert "Benchmarks beside the losses" in words
    assert sentence in words


def test_a_twin_is_named_and_is_no_repetition(study_of):
    """Three equal trials under three seeds spread no less than one."""
    study = study_of({"farthest_first": 0.3}, arms=TWO, seeds=3)
    path = study / "summary.csv"
    header, *rows = path.read_text().splitlines()
    firsts = {f"nearest_first-{seed}": "nearest_first-0" for seed in (1, 2)}
    twins = [f"{row},{firsts.get(row.split(',')[0], '')}" for row in rows]
    path.write_text("\n".join([f"{header},twin_of", *twins]) + "\n")
    for seed, value in enumerate((0.5, 0.6, 0.7)):
        write(study, f"nearest_first-{seed}", line(value))
        write(study, f"farthest_first-{seed}", line(value))
    near, far = (scores_of(arm.trials)[24]["quiz", "acc"] for arm in arms_of(study))
    assert (near.value, near.error) == (0.5, 0.01)
    assert far.error > 0.05
    named = "nearest_first-1 and nearest_first-2 as nearest_first-0"
    assert "2 of 6 trials were not trained, because nothing tells them from another one (the " in (
        words := words_of(page_of(study))
    )
    assert named in words


def test_a_lower_value_is_the_better_one_where_the_task_says_so(study):
    write(study, "nearest_first", line(9.5, better=False))
    write(study, "farthest_first", line(9.0, better=False))
    assert len(disagreements(arms_of(study))) == 2


@pytest.mark.parametrize(
    "lines", [[line(0.5), line(0.52)], [line(0.5, error=None), line(0.9, error=None)],
              [line(0.0, error=0.0), line(0.9)], [line(float("nan")), line(0.9)],
              [line(0.5, better=None), line(0.9, better=None)]]
)  # fmt: skip
def test_what_is_within_the_errors_or_without_one_ranks_nothing(study, lines):
    write(study, "nearest_first", lines[0])
    write(study, "farthest_first", lines[1])
    (sentence,) = disagreements(arms_of(study))
    assert sentence.startswith("No two arms differ by more than their errors both in held-out")


def test_losses_within_their_errors_rank_nothing(study_of):
    study = study_of({}, arms=TWO)
    write(study, "nearest_first", line(0.5))
    write(study, "farthest_first", line(0.9))
    (sentence,) = disagreements(arms_of(study))
    assert sentence.startswith("No two arms")


def test_where_all_agree_it_is_said(study):
    write(study, "nearest_first", line(0.9))
    write(study, "farthest_first", line(0.5))
    (sentence,) = disagreements(arms_of(study))
    assert sentence.endswith("none ranks the arms the other way round.")


def test_the_table_has_losses_and_scores_of_each_benchmarked_step(study):
    write(study, "nearest_first", line(0.25, step=0), line(0.5))
    write(study, "farthest_first", line(0.6, error=None))
    table = benchmark_table(arms_of(study), [])
    assert table.headers == [
        "arm or model", "step", "Query set, loss", "Held-out set, loss", "Off-target set, loss",
        "quiz (acc)",
    ]  # fmt: skip
    cells = [[cell.text for cell in row] for row in table.rows]
    assert [(row[0], row[1], row[-1]) for row in cells] == [
        ("nearest_first", "0", "0.250 ± 0.0100"),
        ("nearest_first", "24", "0.500 ± 0.0100"),
        ("farthest_first", "24", "0.600"),
    ]
    assert float(cells[1][2]) < float(cells[0][2]), "the loss of that step"


def test_seeds_widen_the_error_of_an_arm_and_never_narrow_that_of_its_items(study_of):
    study = study_of({}, arms={"random": ARMS["random"]}, seeds=2)
    write(study, "random-0", line(0.4, error=0.03))
    write(study, "random-1", line(0.6, error=0.03))
    ((_, scores),) = scores_of(arms_of(study)[0].trials).items()
    assert scores["quiz", "acc"] == Score(0.5, pytest.approx((0.03**2 + 0.1**2) ** 0.5), True)


def test_a_study_without_benchmarks_says_nothing_of_them(study):
    assert benchmark_table(arms_of(study), []) is None
    assert "Benchmarks beside the losses" not in words_of(page_of(study))
