"""The results of a study as tables: what its folders hold, and what its report says."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import orchestrator
from orchestrator.errors import DataError
from orchestrator.report.arms import group_arms
from orchestrator.report.contrast import arm_contrast
from orchestrator.report.read import read_study
from orchestrator.storage.files import BENCHMARKS_SCHEMA
from orchestrator.training.outcome import mark_finished
from tests.report.conftest import SETS, STEPS, TASKS


@pytest.fixture
def study(study_of):
    shifts = {"farthest_first": 0.4}
    return study_of(shifts, failed=("nearest_first_tasks-1",), seeds=2)


@pytest.mark.parametrize(
    ("name", "file"), [("losses", "losses"), ("plans", "plan"), ("measures", "measures"),
                       ("train_log", "train_log")],
)  # fmt: skip
def test_a_table_holds_the_files_of_all_trials_each_line_with_its_trial_and_arm(study, name, file):
    table = getattr(orchestrator.read_results(study), name)
    trials = table["trial"].unique().to_pylist()
    assert len(trials) > 6
    for trial in trials:
        part = table.filter([each == trial for each in table["trial"].to_pylist()])
        assert set(part["arm"].to_pylist()) == {trial[:-2]}
        written = pq.read_table(study / "trials" / trial / f"{file}.parquet").to_pandas()
        assert part.to_pandas()[written.columns].equals(written)


def test_trials_are_the_rows_of_the_summary_with_numbers_as_numbers(study):
    trials = orchestrator.read_results(study).trials.to_pylist()
    assert len(trials) == 8
    assert trials[0]["trial"] == "nearest_first-0"
    assert trials[0]["query_loss"] == 2.54123
    failed = next(row for row in trials if row["status"] == "failed")
    assert (failed["trial"], failed["query_loss"]) == ("nearest_first_tasks-1", None)


def test_a_curve_is_the_mean_of_the_losses_of_a_set_at_each_step(study):
    results = orchestrator.read_results(study)
    curves, losses = results.curves.to_pandas(), results.losses.to_pandas()
    assert len(curves) == 7 * len(SETS) * len(STEPS)
    for (trial, name, step), part in losses.groupby(["trial", "set", "step"]):
        row = curves[(curves.trial == trial) & (curves.set == name) & (curves.step == step)]
        assert row.loss.item() == pytest.approx(part.loss.mean())


def test_the_curve_of_a_stopped_trial_is_the_one_of_its_journal(study_of):
    folder = study_of({}, stopped={"random": 4})
    curves = orchestrator.read_results(folder).curves.to_pandas()
    part = curves[(curves.trial == "random") & (curves.set == "query")]
    assert part.step.tolist() == [0, 2, 4]
    assert part.loss.tolist() == pytest.approx([5.0, 4.8, 4.6])


def test_comparisons_are_those_of_the_report_for_every_pair_set_step_and_the_area(study):
    table = orchestrator.read_results(study).comparisons
    rows = {(row["a"], row["b"], row["set"], row["step"]): row for row in table.to_pylist()}
    arms = {arm.name: arm for arm in group_arms(read_study(study).trials)}
    assert len(rows) == 6 * len(SETS) * (len(STEPS) + 1)
    expected = arm_contrast(arms["nearest_first"], arms["farthest_first"])
    area = rows["nearest_first", "farthest_first", "query", None]
    assert area["difference"] == expected.by_area.difference
    assert (area["low"], area["high"]) == (expected.by_area.low, expected.by_area.high)
    assert (area["tasks"], area["seeds"]) == (len(TASKS), 2)
    last = rows["nearest_first", "farthest_first", "query", STEPS[-1]]
    assert last["difference"] == pytest.approx(-0.4, abs=0.05)
    assert last["verdict"] == expected.by_step[STEPS[-1]].verdict


def test_what_cannot_be_read_is_a_fault_and_what_nobody_left_a_table_without_rows(study):
    results = orchestrator.read_results(str(study))
    assert len(results.faults) == 1
    assert results.faults[0].startswith("nearest_first_tasks-1: losses.parquet cannot be read")
    assert results.generations.num_rows == 0
    assert {"trial", "arm", "prediction"} <= set(results.generations.column_names)


def test_benchmarks_are_those_of_all_trials_and_of_models_that_none_trained_by_themselves(study):
    score = {"step": 24, "benchmark": "quiz", "task": "quiz", "metric": "acc", "value": 0.5,
             "stderr": 0.1, "n": 9, "higher_is_better": True}  # fmt: skip
    model, trial = study / "evaluated" / "rival-1234", study / "trials" / "random-0"
    model.mkdir(parents=True)
    losses = pq.read_table(trial / "losses.parquet", filters=[("step", "=", 0)])
    mark_finished(model, {"losses.parquet": losses}, {"model": "rival", "key": "k"}, there=())
    for folder, value in ((trial, 0.5), (model, 0.75)):
        table = pa.Table.from_pylist([score | {"value": value}], BENCHMARKS_SCHEMA)
        pq.write_table(table, folder / "benchmarks.parquet")
    results = orchestrator.read_results(study)
    assert results.benchmarks.to_pylist() == [{"trial": "random-0", "arm": "random", **score}]
    assert set(results.evaluated) == {"losses", "generations", "benchmarks"}
    expected = [{"model": "rival", **loss} for loss in losses.to_pylist()]
    assert results.evaluated["losses"].to_pylist() == expected
    assert results.evaluated["benchmarks"]["value"].to_pylist() == [0.75]
    assert results.evaluated["generations"].column_names[:2] == ["model", "step"]
    assert "rival" not in results.losses["trial"].to_pylist()

    before = len(results.faults)
    (model / "losses.parquet").write_bytes(b"cut")
    faults = orchestrator.read_results(study).faults
    assert len(faults) == before + 1
    assert faults[-1].startswith("rival: losses.parquet cannot be read")


def test_a_folder_that_is_no_studys_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no summary\.csv: give the folder of a study"):
        orchestrator.read_results(tmp_path)
