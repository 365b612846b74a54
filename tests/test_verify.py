"""What the files prove of each trial: its order, that it was stopped early, or that it is wrong."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.cli.commands import app
from orchestrator.core.plan import order_digest
from orchestrator.errors import OrderError, UserError
from orchestrator.training.outcome import STOPPED, Outcome, mark_finished, mark_measures
from orchestrator.verify import Certificate, verify_study

IDS = [f"item {row}" for row in range(8)]
ORDER = [3, 0, 7, 1, 5, 2, 6, 4]
BATCH = 2


def start_trial(study, name):
    """What a trial has before its first step."""
    folder = study / "trials" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"training": {"global_batch": BATCH}}))
    plan = {"row": ORDER, "id": [IDS[row] for row in ORDER]}
    pq.write_table(pa.table(plan), folder / "plan.parquet")
    return folder


def finish_trial(folder, fed=ORDER):
    steps = [1 + at // BATCH for at in range(len(fed))]
    ids = [IDS[row] for row in fed]
    pq.write_table(pa.table({"step": steps, "row": fed, "id": ids}), folder / "realised.parquet")
    digest = order_digest([ids[at : at + BATCH] for at in range(0, len(ids), BATCH)])
    mark(folder, digest)
    return Certificate(digest, 2)


def mark(folder, digest):
    """The mark of a trial that ended with these tables."""
    tables = ("plan.parquet", "realised.parquet")
    mark_finished(folder, {}, {"order_sha256": digest}, there=tables)


def test_all_passes_are_proved_from_the_files_of_a_trial_that_makes_several(tmp_path):
    folder, batch = start_trial(tmp_path, "trial"), 3
    training = {"training": {"global_batch": batch, "epochs": 2}}
    (folder / "config.yaml").write_text(yaml.safe_dump(training))
    steps = [1, 1, 1, 2, 3, 3, 3, 4]  # four rows a pass
    ids = [IDS[row] for row in ORDER]
    columns = {"step": steps, "row": ORDER, "id": ids}
    digest = order_digest([ids[0:3], ids[3:4], ids[4:7], ids[7:8]])
    pq.write_table(pa.table(columns), folder / "realised.parquet")
    mark(folder, digest)
    assert verify_study(tmp_path) == [("trial", Certificate(digest, 2))]
    pq.write_table(
        pa.table(columns | {"step": [1, 1, 1, 2, 2, 2, 3, 3]}), folder / "realised.parquet"
    )
    ((_, found),) = verify_study(tmp_path)
    assert "step 2 was not fed its planned rows: 3 rows instead of 1" in str(found)


def stop_trial(folder, step=2):
    (folder / "stopped.json").write_text(json.dumps({"key": "any", "step": step}))


def test_each_trial_is_what_its_files_say(tmp_path):
    certificate = finish_trial(start_trial(tmp_path, "a-finished"))
    finish_trial(start_trial(tmp_path, "b-shuffled"), fed=ORDER[::-1])
    stop_trial(start_trial(tmp_path, "c-stopped"))
    start_trial(tmp_path, "d-unfinished")
    found = dict(verify_study(tmp_path))
    assert found["a-finished"] == certificate
    assert isinstance(found["b-shuffled"], OrderError)
    assert found["c-stopped"] == Outcome(STOPPED, {}, last_step=2)
    assert "unfinished or damaged" in str(found["d-unfinished"])


def test_another_recorded_order_and_a_row_under_another_id_are_wrong(tmp_path):
    """Where all other files agree: the digests of the tables are those of what lies there."""
    folder = start_trial(tmp_path, "trial")
    digest = finish_trial(folder).order
    mark(folder, digest[::-1])
    ((_, found),) = verify_study(tmp_path)
    assert str(found).startswith(f"trial: the order's SHA-256 is {digest}, result.json says")
    table = pq.read_table(folder / "realised.parquet").to_pydict()
    table["id"][0] = "item 9"
    pq.write_table(pa.table(table), folder / "realised.parquet")
    renamed = [table["id"][at : at + BATCH] for at in range(0, len(ORDER), BATCH)]
    mark(folder, order_digest(renamed))
    ((_, found),) = verify_study(tmp_path)
    assert str(found) == "trial: a row was fed under another id than the planned one"


@pytest.mark.parametrize("mark", ["", "{}", '{"step": null}', '{"step": 2', "[]"])
def test_a_damaged_mark_excuses_no_trial(tmp_path, mark):
    folder = start_trial(tmp_path, "trial")
    (folder / "stopped.json").write_text(mark)
    ((_, found),) = verify_study(tmp_path)
    assert isinstance(found, UserError)


def test_a_mark_beside_a_result_does_not_hide_a_wrong_order(tmp_path):
    folder = start_trial(tmp_path, "trial")
    finish_trial(folder, fed=ORDER[::-1])
    stop_trial(folder)
    ((_, found),) = verify_study(tmp_path)
    assert isinstance(found, OrderError)


@pytest.mark.parametrize(("unfinished", "code"), [(False, 0), (True, 1)])
def test_a_stopped_trial_has_a_line_and_only_wrong_ones_fail_the_command(
    tmp_path, capsys, unfinished, code
):
    finish_trial(start_trial(tmp_path, "a"))
    stop_trial(start_trial(tmp_path, "b"), step=12)
    if unfinished:
        start_trial(tmp_path, "c")
    with pytest.raises(SystemExit) as ended:
        app(["verify", str(tmp_path)])
    assert (ended.value.code or 0) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(" proved a  order ")
    assert lines[1] == "stopped b  after step 12: a scheduler ended it, there is no certificate"
    assert [line.split()[:2] for line in lines[2:]] == [["wrong", "c:"]] * unfinished


@pytest.mark.parametrize("name", ["losses.parquet", "measures.parquet"])
def test_a_table_that_was_changed_after_the_end_is_told_and_the_trial_is_not_proved(tmp_path, name):
    folder = start_trial(tmp_path, "trial")
    pq.write_table(pa.table({"loss": [3.0]}), folder / "losses.parquet")
    pq.write_table(pa.table({"cosine_min": [-0.5]}), folder / "measures.parquet")
    digest = finish_trial(folder).order
    mark_finished(folder, {}, {"order_sha256": digest}, there=["plan.parquet", "losses.parquet"])
    assert verify_study(tmp_path) == [("trial", Certificate(digest, 3))]
    pq.write_table(pa.table({"loss": [0.0]}), folder / name)
    ((_, found),) = verify_study(tmp_path)
    assert f"trial: {name} changed since result.json was written" in str(found)


def test_measures_that_are_missing_are_no_fault_and_later_ones_are_proved_as_well(tmp_path):
    folder = start_trial(tmp_path, "trial")
    certificate = finish_trial(folder)
    pq.write_table(pa.table({"cosine_min": [-0.5]}), folder / "measures.parquet")
    mark_measures(folder)
    assert verify_study(tmp_path) == [("trial", Certificate(certificate.order, 3))]
    (folder / "measures.parquet").unlink()
    assert verify_study(tmp_path) == [("trial", certificate)]
