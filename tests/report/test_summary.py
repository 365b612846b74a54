"""The columns of summary.csv are what the losses say."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.report.summary import trial_metrics, write_summary


def losses(folder, **curves):
    rows = [
        {"step": step, "set": name, "id": f"{name}{i}", "task": "t", "loss": loss, "tokens": 1}
        for name, curve in curves.items()
        for step, values in curve.items()
        for i, loss in enumerate(values)
    ]
    schema = pa.schema(
        [("step", pa.int32()), ("set", pa.string()), ("id", pa.string()), ("task", pa.string()),
         ("loss", pa.float64()), ("tokens", pa.int32())]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "losses.parquet")
    log = {
        "step": [1, 2, 3, 4],
        "update_fidelity": [0.6, 0.97, None, 0.99],
        "fidelity_error": [0.2, 0.04, None, 0.01],  # the first says nothing
        "changed_weights": [0.1, 0.2, None, 0.3],
    }
    pq.write_table(pa.table(log), folder / "train_log.parquet")


def test_metrics_are_means_over_the_answered_items_and_areas_over_steps(tmp_path):
    losses(
        tmp_path,
        query={0: [4.0, 6.0, None], 2: [1.0, 3.0, None], 6: [2.0, 4.0, None]},
        held_out={0: [8.0], 6: [7.0]},
    )
    metrics = trial_metrics(tmp_path)
    assert metrics["query_loss"] == pytest.approx(3.0)
    assert metrics["best_query_loss"] == pytest.approx(2.0)
    assert metrics["query_loss_auc"] == pytest.approx((2 * 3.5 + 4 * 2.5) / 6)
    assert metrics["steps_to_90"] == 2
    assert metrics["held_out_loss"] == pytest.approx(7.0)
    assert "off_target_loss" not in metrics
    assert metrics["lowest_update_fidelity"] == 0.97
    assert metrics["changed_weights"] == 0.3


def test_a_set_whose_answers_were_all_cut_away_has_no_column_value(tmp_path):
    losses(tmp_path, query={0: [2.0], 1: [1.0]}, held_out={0: [None], 1: [None]})
    assert "held_out_loss" not in trial_metrics(tmp_path)


def test_failed_trials_keep_their_row_and_swept_values(tmp_path):
    rows = [
        {"trial": "a", "arm": "x", "status": "finished", "seed": 1, "query_loss": 2.5},
        {"trial": "b", "arm": "x", "status": "failed", "seed": 2},
    ]
    write_summary(tmp_path / "summary.csv", rows, ["seed"])
    read = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [r["status"] for r in read] == ["finished", "failed"]
    assert [r["arm"] for r in read] == ["x", "x"]
    assert list(read[0])[:3] == ["trial", "arm", "status"]
    assert [r["seed"] for r in read] == ["1", "2"]
    assert read[0]["query_loss"] == "2.5"
    assert read[1]["query_loss"] == ""


def test_a_column_names_the_trial_whose_result_a_twin_took_where_there_are_twins(tmp_path):
    rows = [{"trial": name, "arm": "a", "status": "finished"} for name in ("one", "two")]
    for twin, columns in (({}, False), ({"twin_of": "one"}, True)):
        write_summary(tmp_path / "summary.csv", [rows[0], rows[1] | twin], [])
        (*_, last) = csv.DictReader((tmp_path / "summary.csv").open())
        assert ("twin_of" in last) == columns
    assert last["twin_of"] == "one"
