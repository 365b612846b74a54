"""Models that no trial trained stand beside the arms, and change nothing that is said of them."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DataError
from orchestrator.report.arms import group_arms
from orchestrator.report.build import build_report, page_of
from orchestrator.report.evaluated import evaluated_table, tokenizer_notes
from orchestrator.report.read import read_study
from orchestrator.storage.files import LOSSES_SCHEMA
from orchestrator.training.outcome import mark_finished
from orchestrator.verify import verify_measured
from tests.report.conftest import TASKS
from tests.report.pages import words_of


@pytest.fixture
def study_dir(study_of):
    return study_of({"farthest_first": 0.3})


def add_model(study, name="rival", loss=1.5, tokens=12, folder="rival-1234", items=3):
    """A model with one loss for all items, whose tokenizer makes so many tokens of an answer."""
    rows = [
        {"step": 0, "set": "query", "id": f"{task}/{item}", "task": task, "loss": loss,
         "tokens": tokens}
        for task in TASKS
        for item in range(items)
    ]  # fmt: skip
    path = study / "evaluated" / folder
    path.mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=LOSSES_SCHEMA)
    mark_finished(path, {"losses.parquet": table}, {"model": name, "key": "k"}, there=())
    return path


def rows_of(study):
    record = read_study(study)
    table = evaluated_table(group_arms(record.trials), record.evaluated)
    return table.headers, {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}


def test_a_model_has_a_row_below_the_arms_and_a_straight_line_in_the_curves(study_dir):
    before = words_of(page_of(study_dir))
    add_model(study_dir, name="owner/<b>rival")
    page = build_report(study_dir).read_text()
    headers, rows = rows_of(study_dir)
    assert headers == ["arm or model", "Query set", "Held-out set", "Off-target set"]
    assert list(rows)[-1] == "owner/<b>rival"
    assert rows["owner/<b>rival"] == ["1.500", "–", "–"]
    assert rows["random"][0] == f"{np.nanmean(final_losses(study_dir, 'random')):.3f}"
    assert page.count('"dash":"longdash"') == 1, "only the query set was measured"
    assert "<b>rival" not in page
    # What the page said, it says still.
    answer = re.match(r".*?Loss curves", before).group()
    assert words_of(page).startswith(answer)


def final_losses(study, trial):
    table = pq.read_table(study / "trials" / trial / "losses.parquet").to_pandas()
    return table[(table["set"] == "query") & (table["step"] == 24)]["loss"]


def test_another_tokenizer_is_told_and_whole_answers_are_compared(study_dir):
    add_model(study_dir, loss=0.75, tokens=24)
    headers, rows = rows_of(study_dir)
    place = headers.index("Query set, nats an answer") - 1
    assert rows["rival"][place] == "18.000"
    assert rows["random"][place] == f"{12 * np.nanmean(final_losses(study_dir, 'random')):.3f}"
    assert "rival has another tokenizer than the trials: 29 of 29 answers" in words_of(
        page_of(study_dir)
    )


def test_of_the_same_tokenizer_nothing_is_said(study_dir):
    add_model(study_dir)
    record = read_study(study_dir)
    assert tokenizer_notes(group_arms(record.trials), record.evaluated) == []


def test_one_name_measured_twice_is_told_apart_by_its_folders(study_dir):
    add_model(study_dir)
    add_model(study_dir, loss=2.5, folder="rival-5678")
    _, rows = rows_of(study_dir)
    assert rows["rival as rival-1234"][0] == "1.500"
    assert rows["rival as rival-5678"][0] == "2.500"


def test_a_model_that_was_measured_on_other_test_items_is_left_out_and_named(study_dir):
    add_model(study_dir)
    add_model(study_dir, loss=2.5, folder="rival-5678", items=2)
    _, rows = rows_of(study_dir)
    assert rows["rival"][0] == "1.500"
    assert not any("5678" in name for name in rows)
    sentence = "measured on other test items than the trials were: rival-5678. Measure these"
    assert sentence in words_of(page_of(study_dir))


def test_where_all_models_are_left_out_the_page_says_so_still(study_dir):
    add_model(study_dir, items=2)
    words = words_of(page_of(study_dir))
    assert "than the trials were: rival-1234. Measure these" in words


@pytest.mark.parametrize("harm", ["changed", "removed", "unmarked"])
def test_a_table_that_is_not_as_it_was_written_is_found(study_dir, harm):
    path = add_model(study_dir)
    assert verify_measured(study_dir) == [("evaluated/rival-1234", 1)]
    table = path / "losses.parquet"
    if harm == "changed":
        pq.write_table(pq.read_table(table).slice(1), table)
    elif harm == "removed":
        table.unlink()
    else:
        (path / "result.json").write_text(json.dumps({"key": "k"}))
    ((_, fault),) = verify_measured(study_dir)
    assert isinstance(fault, DataError)
